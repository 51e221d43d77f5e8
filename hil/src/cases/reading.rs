//! Cases in which nothing goes wrong.

use super::stand::{Stand, Trouble, accept, poll_all, product, read_all};

/// Every tag is answered.
pub async fn readable(stand: &mut Stand) -> Result<String, Trouble> {
    let wanted: Vec<_> = stand.give().await?.into_iter().map(|_| None).collect();
    let mut connector = stand.connected().await?;
    let samples = poll_all(connector.as_mut(), &stand.spec).await?;
    connector.close().await;
    stand.compare(&samples, &wanted)?;
    Ok(format!("{} tags, {} requests", wanted.len(), connector.requests()))
}

/// Every tag has the value it was given, and another one after that.
pub async fn values(stand: &mut Stand) -> Result<String, Trouble> {
    let wanted = stand.give().await?;
    let mut connector = stand.connected().await?;
    let samples = poll_all(connector.as_mut(), &stand.spec).await?;
    stand.compare(&samples, &wanted)?;
    let changed = stand.give().await?;
    let samples = read_all(connector.as_mut(), &stand.spec).await;
    let samples = samples.map_err(|error| Trouble::Product(format!("read: {error}")))?;
    connector.close().await;
    stand.compare(&samples, &changed)?;
    let known = wanted.iter().flatten().count();
    Ok(format!("{known} of {} tags have twice the value they were given", wanted.len()))
}

/// The checks of the profile hold.
pub async fn verify(stand: &mut Stand) -> Result<String, Trouble> {
    stand.give().await?;
    let mut connector = stand.connected().await?;
    let samples = read_all(connector.as_mut(), &stand.spec).await;
    connector.close().await;
    accept(&stand.device, &samples.map_err(|error| Trouble::Product(format!("read: {error}")))?)?;
    Ok(format!("checks: {}", stand.device.verify.len()))
}

/// The device says who it is; a real one must be the one of the rig file.
pub async fn identity(stand: &mut Stand) -> Result<String, Trouble> {
    let mut connector = stand.connected().await?;
    connector.close().await;
    if stand.said.trim().is_empty() {
        return product("the device says nothing of itself");
    }
    // Order number and firmware may be written with other words around them.
    let known = |word: &&str| stand.said.contains(word.trim_end_matches(','));
    if !stand.identity.is_empty() && !stand.identity.split_whitespace().any(|word| known(&word)) {
        return product(format!("it says {:?}, the rig file {:?}", stand.said, stand.identity));
    }
    Ok(stand.said.clone())
}
