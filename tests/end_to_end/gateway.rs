//! The forebay process under test, with its configuration and its log.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::plant::{PROFILES, Server};
use crate::support::{PATIENCE, wait_for};

/// A folder with a configuration, and the process that runs by it.
pub struct Gateway {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Gateway {
    /// Writes the configuration; starts nothing.
    pub fn new(brokers: &str, prefix: &str, transaction_timeout: &str, servers: &[Server]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        let brokers: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
        write(
            "forebay.toml",
            &format!(
                "forebay = 1\n[edge]\nid = \"box-e2e\"\nsite = \"Werk1\"\n[kafka]\nbrokers = [{}]\n\
                 topic_prefix = \"{prefix}\"\ntransaction_timeout = \"{transaction_timeout}\"\n\
                 [journal]\ndirectory = \"journal\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
                 [limits]\nreconnect_pause_max = \"2s\"\n\
                 [paths]\nprofiles = [\"profiles\"]\ndevices = [\"devices\"]\nstate = \"state\"\n",
                brokers.join(", ")
            ),
        );
        for (name, text) in PROFILES {
            write(&format!("profiles/{name}"), text);
        }
        let mut devices = String::from("forebay = 1\n");
        for server in servers {
            write!(
                devices,
                "[[device]]\nname = \"{}\"\nprofile = \"{}\"\nendpoint = \"{}\"\nlocation = \"Werk1/Halle/Linie/Zelle\"\n",
                server.name,
                server.profile(),
                server.endpoint()
            )
            .expect("a text takes text");
            if server.endpoint().starts_with("opc.tcp") {
                devices += "allow_insecure = true\n";
            }
        }
        write("devices/plant.toml", &devices);
        Self { folder, child: None }
    }

    /// Replaces a text of its forebay.toml, which must stand there once.
    pub fn set(&self, find: &str, replace: &str) {
        let text = std::fs::read_to_string(self.config()).expect("it is written");
        assert_eq!(text.matches(find).count(), 1, "{find} in {text}");
        std::fs::write(self.config(), text.replace(find, replace)).expect("a file");
    }

    /// Adds a file to its configuration.
    pub fn add(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// The same with its folders, for a file that is no text.
    pub fn add_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    /// Runs a command as the page says it, with its configuration.
    pub fn run(&self, command: &str) {
        let words = command.strip_prefix("forebay ").expect("a command of forebay").split(' ');
        let mut program = Command::new(env!("CARGO_BIN_EXE_forebay"));
        let done = program.args(words).arg("--config").arg(self.config()).output().expect("forebay runs");
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("forebay.toml")
    }

    /// `forebay check`, for a message when the configuration of the test itself is wrong.
    pub fn check(&self) {
        let checked = Command::new(env!("CARGO_BIN_EXE_forebay")).arg("check").arg(self.config()).output();
        let checked = checked.expect("forebay runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }

    /// Starts the process; its log goes on in one file over all starts.
    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(["run", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("forebay starts");
        self.child = Some(child);
    }

    /// kill -9, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// SIGTERM, as systemd does it; must end by itself.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = child.id().to_string();
        Command::new("kill").arg(&pid).status().expect("kill runs");
        let status = wait_for("end after SIGTERM", PATIENCE, || child.try_wait().expect("our child"));
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// True while the process runs; it must never end by itself.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("our child").is_none())
    }

    /// Address of the page, from the log of the last start.
    pub fn page(&self) -> String {
        wait_for("page", PATIENCE, || {
            let log = self.log();
            let (_, after) = log.rsplit_once("status page: http://")?;
            after.split_whitespace().next().map(|address| format!("http://{address}"))
        })
    }

    /// What `/api/v1/status.json` says, `None` when the page does not answer.
    pub fn status(&self) -> Option<serde_json::Value> {
        self.json("/api/v1/status.json")
    }

    fn json(&self, path: &str) -> Option<serde_json::Value> {
        let page = self.page();
        let body = crate::support::get(page.trim_start_matches("http://"), path)?;
        serde_json::from_str(&body).ok()
    }

    /// Whether the page of this server's device shows what the server holds.
    pub fn shows(&self, server: &Server) -> Option<bool> {
        let news = self.json(&format!("/live/m/{}?once=1&lang=en", server.name))?;
        let shown: Vec<String> = news["cells"]
            .as_object()?
            .iter()
            .filter(|(id, _)| id.strip_prefix('v').is_some_and(|at| at.parse::<usize>().is_ok()))
            .filter_map(|(_, html)| html.as_str()?.split_once("<b>")?.1.split_once("</b>"))
            .map(|(value, _)| value.split_whitespace().collect())
            .collect();
        Some(server.held().in_words().iter().all(|value| shown.contains(value)))
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "forebay-{}.log",
            self.folder
                .path()
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        ))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of forebay: {}", self.log_path().display());
        }
        self.kill();
    }
}
