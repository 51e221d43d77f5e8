//! The demonstration: simulated machines that behave like real ones.
//!
//! `forebay demo` serves them over real sockets; `forebay demo record` writes what they do as a
//! table, so that the shipped model can be trained from nothing but this repository.

mod consumer;
mod drift;
pub mod filler;
pub mod machine;
pub mod meter;
pub mod past;
mod plant;
pub mod record;
pub(crate) mod site;
mod story;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config;
use crate::device::Device;
use crate::replicate::Options as KafkaOptions;
use crate::replicate::mock::Broker;
use crate::run;

use machine::{DEMO_WEAR_PER_S, DEMO_WEAR_START_S, Machine};
use story::{Story, Timing};

/// The past of the press that the box finds in its journal, seconds.
const PAST_S: u32 = 3600;
/// It learns so long after the start.
const LEARN_AFTER: Duration = Duration::from_secs(4);

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
    let devices = config::load(&site.config()).devices;
    let (machine, past_records) = yesterday(&site, &devices).await?;
    let plant = plant::Plant::start(&devices, machine).await?;
    site.write(listen, &bootstrap, &plant.endpoints())?;
    let loaded = config::load(&site.config());
    let Some(config) = loaded.config.as_ref().filter(|_| loaded.errors() == 0) else {
        bail!("the demo's own files have faults:\n{}", loaded.render(crate::diagnostic::Format::Text, false));
    };
    let learn_from_us = clock::now_us() - i64::from(PAST_S) * 1_000_000;
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
    let (facts, learner) = (running.facts.clone(), Arc::clone(&running.learner));
    let mut story = Story::new(broker, consumer, facts, learner, stop.clone());
    let timing = Timing {
        learn_after: LEARN_AFTER,
        learn_from_us,
        past_records,
        outage_after: options.outage_after,
        outage: options.outage,
        stop_after: options.stop_after,
    };
    let told = story.tell(timing).await;
    stop.cancel();
    signal_task.abort();
    running.stop().await;
    plant_task.await.context("the simulated plant failed")?;
    drop(story);
    if told? { Ok(()) } else { bail!("not everything has arrived, see above") }
}

/// Lets the press run for an hour in simulated time, up to now, as if the box had been here: its journal
/// holds what it would have read. Then the bearing begins to wear, some time after the start.
async fn yesterday(site: &site::Site, devices: &[Arc<Device>]) -> anyhow::Result<(Machine, u64)> {
    let press = devices.iter().find(|device| device.name == story::PRESS).context("the demo has a press")?;
    let (press, journal) = (Arc::clone(press), site.journal());
    let recording = tokio::task::spawn_blocking(move || {
        let mut machine = Machine::new(1);
        let records = past::record(&journal, &press, &mut machine, (PAST_S, clock::now_us()), |_, _| ())?;
        machine.set_wear_rate(machine.time_s() + DEMO_WEAR_START_S, DEMO_WEAR_PER_S);
        anyhow::Ok((machine, records))
    });
    recording.await.context("the press's past has failed")?.context("the press has no past")
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
    writeln!(
        out,
        "The journal holds the press's last hour (simulated faster than time). From it the box learns what is\n\
         normal; then a bearing of the press begins to wear. Ctrl-C ends the demo.\n"
    )
}
