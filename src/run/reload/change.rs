//! What is another in a new configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_connector::DeviceSpec;

use crate::config::Config;
use crate::device::{Device, Tag};

/// Names in an event or an answer at most; the numbers say how many there are.
const NAMED_MAX: usize = 50;

/// The devices of a new configuration, and how they differ from those that run.
#[derive(Default)]
pub struct Change {
    /// All that are to run. What has not changed is the very device that runs already.
    pub devices: Vec<Arc<Device>>,
    /// Those whose files have faults; they run on as they were.
    pub kept: Vec<Arc<Device>>,
    /// Names of new ones.
    pub added: Names,
    /// Names of those that are not configured any more.
    pub removed: Names,
    /// Names of those that are read in another way from now on.
    pub changed: Names,
    /// `device/tag` of tags that changed devices did not have before.
    pub tags_added: Names,
    /// `device/tag` of tags that changed devices have no more.
    pub tags_removed: Names,
    /// Tables of `forebay.toml` beside the devices that are others and were taken over.
    pub tables: Vec<&'static str>,
}

/// Names, a few of them for people, and how many there are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names {
    /// The first ones.
    pub first: Vec<String>,
    /// All.
    pub count: usize,
}

impl Names {
    fn push(&mut self, name: String) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(name);
        }
    }
}

impl Change {
    /// From the devices that run to the new ones. `keeps` says of a running device that it runs on
    /// as it is, whatever the new configuration says of it.
    pub fn between(running: &[Arc<Device>], new: &[Arc<Device>], keeps: impl Fn(&Device) -> bool) -> Self {
        let mut change = Self::default();
        for device in new {
            let before = running.iter().find(|before| before.name == device.name);
            let device = match before {
                Some(before) if is_same(before, device) => Arc::clone(before),
                Some(before) if keeps(before) => {
                    change.kept.push(Arc::clone(before));
                    Arc::clone(before)
                }
                Some(before) => {
                    change.changed.push(device.name.clone());
                    change.compare_tags(before, device);
                    Arc::clone(device)
                }
                None => {
                    change.added.push(device.name.clone());
                    Arc::clone(device)
                }
            };
            change.devices.push(device);
        }
        for before in running.iter().filter(|it| new.iter().all(|device| device.name != it.name)) {
            if keeps(before) {
                change.kept.push(Arc::clone(before));
                change.devices.push(Arc::clone(before));
            } else {
                change.removed.push(before.name.clone());
            }
        }
        change
    }

    fn compare_tags(&mut self, before: &Device, after: &Device) {
        let paths = |device: &Device| device.tags.iter().map(|tag| tag.path.clone()).collect::<BTreeSet<_>>();
        let (before, now) = (paths(before), paths(after));
        now.difference(&before).for_each(|tag| self.tags_added.push(format!("{}/{tag}", after.name)));
        before.difference(&now).for_each(|tag| self.tags_removed.push(format!("{}/{tag}", after.name)));
    }

    /// The devices are as they were.
    pub fn is_empty(&self) -> bool {
        self.added.count + self.removed.count + self.changed.count == 0
    }
}

/// Whether a device is read and described in the same way as before. Where in its file it stands is
/// no difference: a line of comment must not cost a connection.
fn is_same(a: &Device, b: &Device) -> bool {
    // Exhaustive on purpose: of a new field somebody has to say whether it counts.
    let Device {
        name,
        path,
        location,
        profile,
        profile_version,
        title,
        protocol,
        spec,
        tags,
        verify,
        standby_for,
        access,
        source: _,
    } = a;
    (name, path, location, profile, profile_version, title, standby_for, access)
        == (
            &b.name,
            &b.path,
            &b.location,
            &b.profile,
            &b.profile_version,
            &b.title,
            &b.standby_for,
            &b.access,
        )
        && protocol.name() == b.protocol.name()
        && is_same_spec(spec, &b.spec)
        && tags.len() == b.tags.len()
        && tags.iter().zip(&*b.tags).all(|(a, b)| is_same_tag(a, b))
        && *verify == b.verify
}

fn is_same_spec(a: &DeviceSpec, b: &DeviceSpec) -> bool {
    // As above. Secrets are names in `options`.
    let DeviceSpec {
        name,
        endpoint,
        options,
        scans,
        tags,
        trust,
        allow_insecure,
        secrets: _,
        state_directory,
    } = a;
    (name, endpoint, options, scans, tags) == (&b.name, &b.endpoint, &b.options, &b.scans, &b.tags)
        && (trust, allow_insecure, state_directory) == (&b.trust, &b.allow_insecure, &b.state_directory)
}

fn is_same_tag(a: &Tag, b: &Tag) -> bool {
    *a == Tag { source: a.source.clone(), ..b.clone() }
}

/// Tables of `forebay.toml` that are another and are taken over at once.
pub fn tables(running: &Config, new: &Config) -> Vec<&'static str> {
    let parts = [("[[model]]", running.models == new.models), ("[[learn]]", running.learn == new.learn)];
    parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// Parts of `forebay.toml` that are another and that only a new start takes over.
pub fn waiting_for_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    // As above. Models are bound anew, and what the limits say of devices and tags is looked at
    // whenever files are read.
    let Config {
        edge,
        kafka,
        journal,
        telemetry,
        events,
        limits,
        status,
        log,
        paths,
        models: _,
        learn: _,
        model_options,
        standby,
    } = running;
    let limits_of_start = (limits.reconnect_pause_max, limits.web_clients)
        == (new.limits.reconnect_pause_max, new.limits.web_clients);
    let parts = [
        ("[edge]", *edge == new.edge),
        ("[kafka]", *kafka == new.kafka),
        ("[journal]", *journal == new.journal),
        ("[lanes]", (telemetry, events) == (&new.telemetry, &new.events)),
        ("[limits]", limits_of_start),
        ("[status]", *status == new.status),
        ("[log]", *log == new.log),
        ("[paths]", *paths == new.paths),
        ("[models]", *model_options == new.model_options),
        ("[standby]", *standby == new.standby),
    ];
    parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_files;

    fn devices(text: &str) -> Vec<Arc<Device>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plant.toml");
        std::fs::write(&path, text).unwrap();
        let loaded = check_files(&[path]);
        assert_eq!(loaded.errors(), 0, "{}", loaded.render(crate::diagnostic::Format::Text, false));
        loaded.devices
    }

    const PLANT: &str = "forebay = 1\n\
        [[device]]\nname = \"a\"\nprofile = \"eastron-sdm630\"\nendpoint = \"tcp://127.0.0.1:1\"\n\
        location = \"W/H/L/A\"\n\
        [[device]]\nname = \"b\"\nprofile = \"eastron-sdm630\"\nendpoint = \"tcp://127.0.0.1:2\"\n\
        location = \"W/H/L/B\"\n";

    #[test]
    fn comments_change_nothing_and_a_tag_less_changes_one_device() {
        let running = devices(PLANT);
        let same = devices(&PLANT.replace("[[device]]", "# moved down\n\n[[device]]"));
        let change = Change::between(&running, &same, |_| false);
        assert!(change.is_empty());
        assert!(change.devices.iter().zip(&running).all(|(a, b)| Arc::ptr_eq(a, b)));

        let text = PLANT.replace("tcp://127.0.0.1:2\"\n", "tcp://127.0.0.1:2\"\nexcept = [\"voltage.l2\"]\n");
        let change = Change::between(&running, &devices(&text), |_| false);
        assert_eq!((&change.changed.first, change.removed.count), (&vec!["b".to_owned()], 0));
        assert_eq!(change.tags_removed.first, ["b/voltage.l2"]);
        assert!(Arc::ptr_eq(&change.devices[0], &running[0]));
        let back = Change::between(&change.devices, &running, |_| false);
        assert_eq!(back.tags_added.first, ["b/voltage.l2"]);
    }

    #[test]
    fn a_device_that_is_gone_is_removed_unless_its_file_has_faults() {
        let running = devices(PLANT);
        let only_a: Vec<_> = running[..1].to_vec();
        let change = Change::between(&running, &only_a, |_| false);
        assert_eq!((change.removed.first.as_slice(), change.devices.len()), (["b".to_owned()].as_slice(), 1));
        let change = Change::between(&running, &only_a, |device| device.name == "b");
        assert!(change.is_empty());
        assert!(Arc::ptr_eq(&change.kept[0], &running[1]) && change.devices.len() == 2);
        let other = devices(&PLANT.replace("127.0.0.1:2", "127.0.0.1:3"));
        let change = Change::between(&running, &other, |device| device.name == "b");
        assert!(change.is_empty() && Arc::ptr_eq(&change.devices[1], &running[1]));
    }
}
