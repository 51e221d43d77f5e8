//! The demonstration: simulated machines that behave like real ones.
//!
//! `forebay demo` serves them over real sockets; `forebay demo record` writes what they do as a
//! table, so that the shipped model can be trained from nothing but this repository.

mod consumer;
mod drift;
pub mod filler;
pub mod machine;
pub mod meter;
mod plant;
pub mod record;
mod site;
mod story;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::replicate::Options as KafkaOptions;
use crate::replicate::mock::Broker;
use crate::run;

use story::{Story, Timing};

/// Options of `forebay demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// Address and port of the page.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// When the line to Kafka is cut, for example `25s`.
    #[arg(long, default_value = "25s", value_parser = duration)]
    pub outage_after: Duration,
    /// How long it stays cut.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub outage: Duration,
    /// End by itself after this time instead of at Ctrl-C.
    #[arg(long, value_parser = duration)]
    pub stop_after: Option<Duration>,
}

/// `90s`, `2m` or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(number) => (number, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text} is no duration: write 90s or 2m"))?;
    Ok(Duration::from_secs(number.saturating_mul(factor)))
}

/// Runs the demo until Ctrl-C or `stop_after`.
///
/// # Errors
/// When it cannot start, or when records that should have arrived are missing.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let site = site::Site::create().context("the demo needs a folder for temporary files")?;
    let broker = Broker::start(site::PREFIX).context("the embedded broker does not start")?;
    let bootstrap = broker.bootstrap().to_owned();
    let listen = with_port(options.listen).with_context(|| {
        format!("the page cannot be shown at {}, choose another --listen", options.listen)
    })?;
    // Once to know the devices, then again with the ports their simulators have chosen.
    site.write(listen, &bootstrap, &[])?;
    let plant = plant::Plant::start(&config::load(&site.config()).devices).await?;
    site.write(listen, &bootstrap, &plant.endpoints())?;
    let loaded = config::load(&site.config());
    let Some(config) = loaded.config.as_ref().filter(|_| loaded.errors() == 0) else {
        bail!("the demo's own files have faults:\n{}", loaded.render(crate::diagnostic::Format::Text, false));
    };
    let stop = CancellationToken::new();
    let plant_task = tokio::spawn(plant.run(stop.clone()));
    let kafka = KafkaOptions::new(&bootstrap, site::PREFIX, &config.edge.site, &config.edge.id);
    let running = run::start(config, &loaded, kafka)?;
    let consumer = consumer::DemoConsumer::start(&bootstrap, site::PREFIX)?;
    // Nobody reads: ends like Ctrl-C, in order.
    if introduce(listen, &loaded, &bootstrap).is_err() {
        stop.cancel();
    }

    let signal = stop.clone();
    let signal_task = tokio::spawn(async move {
        run::stop_signal().await;
        signal.cancel();
    });
    let mut story = Story::new(broker, consumer, running.facts.clone(), stop.clone());
    let timing =
        Timing { outage_after: options.outage_after, outage: options.outage, stop_after: options.stop_after };
    let told = story.tell(timing).await;
    stop.cancel();
    signal_task.abort();
    running.stop().await;
    plant_task.await.context("the simulated plant failed")?;
    drop(story);
    if told? { Ok(()) } else { bail!("not everything has arrived, see above") }
}

/// A free port in place of 0, so that it can be said where the page is.
fn with_port(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind(listen)?.local_addr()
}

fn introduce(listen: SocketAddr, loaded: &config::Loaded, bootstrap: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Forebay demo: a simulated plant, read over real sockets on this machine only.")?;
    for device in &loaded.devices {
        let endpoint = &device.spec.endpoint;
        writeln!(
            out,
            "  {:<14} {} ({}) at {endpoint}",
            device.name,
            device.title.get("en"),
            device.protocol.name()
        )?;
    }
    writeln!(out, "  {:<14} embedded broker at {bootstrap}", "Kafka")?;
    writeln!(out, "  {:<14} http://{listen}", "status page")?;
    writeln!(out, "A bearing of the press begins to wear soon. Ctrl-C ends the demo.\n")
}
