//! Are the models and devices that `[[model]]` names there, and can the models be used?

use super::Paths;
use super::read::ModelNames;
use crate::document::{Context, nearest};
use crate::infer::folder::Folder;
use crate::infer::store::Store;
use crate::learn::Order;
use crate::learn::choice::Choice;
use crate::profile::Instances;

/// Reports what is not there. None of it keeps the box from starting.
pub fn check(ctx: &Context<'_>, named: &ModelNames, found: &Instances, paths: &Paths) {
    check_learned(ctx, named, found);
    if named.models.is_empty() && named.devices.is_empty() {
        return;
    }
    let folders = Folder::all(&paths.models);
    let stored = Store::new(&paths.state).list();
    check_devices(ctx, named, found, &folders);
    let models: Vec<&str> = folders.iter().map(Folder::model_name).collect();
    for (name, span) in &named.models {
        let Some(folder) = folders.iter().find(|folder| folder.model_name() == name) else {
            // It may be in the store of the box, and nowhere else.
            if stored.iter().any(|stored| stored.identity.model == *name) {
                continue;
            }
            let fault = ctx.error("C0205", *span, format!("[[model]]: there is no model \"{name}\""));
            let help = format!("put its folder under [paths] models; known models: {}", models.join(", "));
            ctx.report(fault.help(suggest(name, &models, &help)));
            continue;
        };
        for wrong in folder.content.as_ref().err().into_iter().flatten() {
            let fault = ctx.error("C0209", *span, format!("model `{name}`: {wrong}"));
            ctx.report(fault.label("cannot be used").help("see docs/models.md"));
        }
    }
}

/// Every device that is to be watched must be there, and of the profile its model is for.
fn check_devices(ctx: &Context<'_>, named: &ModelNames, found: &Instances, folders: &[Folder]) {
    // A model may watch a device that is refused today; its profile is not known then.
    let known = || {
        let devices = found.devices.iter().map(|it| (it.name.as_str(), Some(it.profile.as_str())));
        devices.chain(found.refused.iter().map(|it| (it.name.as_str(), None)))
    };
    for (name, span, model) in &named.devices {
        let Some((_, profile)) = known().find(|(device, _)| device == name) else {
            let names: Vec<&str> = known().map(|(device, _)| device).collect();
            let fault = ctx.error("C0205", *span, format!("[[model]]: there is no device \"{name}\""));
            ctx.report(fault.help(suggest(name, &names, "write the name of a [[device]]")));
            continue;
        };
        let folder = folders.iter().find(|folder| folder.model_name() == model);
        let wanted =
            folder.and_then(|folder| folder.content.as_ref().ok()).map(|it| it.spec.profile.as_str());
        if let (Some(profile), Some(wanted)) = (profile, wanted)
            && profile != wanted
        {
            let message = format!(
                "[[model]]: `{model}` is for devices of profile `{wanted}`, `{name}` is of profile `{profile}`"
            );
            let fault = ctx.error("C0205", *span, message);
            ctx.report(fault.help(format!("take it out, or name a device of profile `{wanted}`")));
        }
    }
}

/// Every device that is to be learned must be there, and have the tags and states.
fn check_learned(ctx: &Context<'_>, named: &ModelNames, found: &Instances) {
    for (learn, span) in &named.learned {
        if found.refused.iter().any(|refused| refused.name == learn.device) {
            continue;
        }
        let Some(device) = found.devices.iter().find(|device| device.name == learn.device) else {
            let names: Vec<&str> = found.devices.iter().map(|device| device.name.as_str()).collect();
            let fault =
                ctx.error("C0205", *span, format!("[[learn]]: there is no device \"{}\"", learn.device));
            ctx.report(fault.help(suggest(&learn.device, &names, "write the name of a [[device]]")));
            continue;
        };
        if let Err(error) = Choice::of(device, &Order::configured(learn, 0)) {
            let fault = ctx.error("C0205", *span, format!("[[learn]] of {}: {error}", learn.device));
            ctx.report(fault.help("`forebay explain` shows the tags of a device"));
        }
    }
}

fn suggest(name: &str, known: &[&str], otherwise: &str) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => otherwise.to_owned(),
    }
}
