//! The demo's configuration: real files, in a folder of its own that goes away at the end.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Topics are `demo.telemetry`, `demo.events`, `demo.checkpoints`.
pub const PREFIX: &str = "demo";

/// Machines of the demo: name, profile, location, further lines of `[[device]]`.
const MACHINES: [(&str, &str, &str, &str); 3] = [
    ("press-3", "acme-press-630t", "Werk1/Presswerk/Linie3/Presse3", ""),
    ("meter-hall-2", "eastron-sdm630", "Werk1/Energie/Halle2/UV4", ""),
    ("filler-1", "demo-filler", "Werk2/Abfuellung/Linie1/Fueller", "allow_insecure = true\n"),
];

/// The shipped filler demands encryption and a user; the simulated one has neither.
const FILLER: &str = include_str!("../../profiles/bottle-filler.toml");

/// The folder with the files.
pub struct Site {
    folder: PathBuf,
}

impl Site {
    /// Makes the folder under the system's folder for temporary files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create() -> std::io::Result<Self> {
        // A name that nobody can have prepared, and that must not be there.
        let folder = std::env::temp_dir().join(format!("forebay-demo-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder)?;
        std::fs::create_dir(folder.join("profiles"))?;
        std::fs::create_dir(folder.join("devices"))?;
        let site = Self { folder };
        std::fs::write(site.folder.join("profiles/demo-filler.toml"), demo_filler())?;
        Ok(site)
    }

    /// `forebay.toml`.
    pub fn config(&self) -> PathBuf {
        self.folder.join("forebay.toml")
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Writes `forebay.toml` and the devices with their endpoints, in the order of the machines.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, listen: SocketAddr, brokers: &str, endpoints: &[String]) -> std::io::Result<()> {
        std::fs::write(self.config(), forebay_toml(listen, brokers))?;
        let mut devices = String::from("forebay = 1\n");
        for (index, (name, profile, location, further)) in MACHINES.iter().enumerate() {
            let endpoint = endpoints.get(index).map_or(PLACEHOLDERS[index], String::as_str);
            devices += &format!(
                "\n[[device]]\nname = \"{name}\"\nprofile = \"{profile}\"\nendpoint = \"{endpoint}\"\n\
                 location = \"{location}\"\n{further}"
            );
        }
        std::fs::write(self.folder.join("devices/demo.toml"), devices)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!("the demo's folder {} stays: {error}", self.folder.display());
        }
    }
}

/// Endpoints before the simulators have chosen their ports.
const PLACEHOLDERS: [&str; 3] = ["127.0.0.1", "tcp://127.0.0.1", "opc.tcp://127.0.0.1:4840"];

fn demo_filler() -> String {
    FILLER
        .replace("\"bottle-filler\"", "\"demo-filler\"")
        .replace("\"Basic256Sha256\"", "\"None\"")
        .replace("\"SignAndEncrypt\"", "\"None\"")
        .lines()
        .take_while(|line| !line.starts_with("[[device]]"))
        .filter(|line| !line.starts_with("auth "))
        .fold(String::new(), |text, line| text + line + "\n")
}

fn forebay_toml(listen: SocketAddr, brokers: &str) -> String {
    format!(
        r#"forebay = 1

[edge]
id   = "demo-box"
name = "Demo box"
site = "Werk1"

[kafka]
brokers      = ["{brokers}"]
topic_prefix = "{PREFIX}"

[journal]
directory = "journal"

[status]
listen = "{listen}"

[paths]
profiles = ["profiles"]
devices  = ["devices"]
state    = "state"
"#
    )
}
