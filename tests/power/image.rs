//! A small ext4 of its own, whose power can be cut.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::{PATIENCE, Peer, Python, wait_for};

/// Runs a command as root, directly or through sudo; what it said when it failed.
pub fn try_as_root(arguments: &[&str]) -> Result<(), String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let (program, arguments) = if root { (arguments[0], &arguments[1..]) } else { ("sudo", arguments) };
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// The same for what must succeed.
pub fn as_root(arguments: &[&str]) {
    if let Err(error) = try_as_root(arguments) {
        panic!(
            "{error}\nThese tests mount small file systems: they need root or passwordless sudo, loop devices, and \
             in a container the capability SYS_ADMIN; mkfs.ext4 comes with e2fsprogs (tests/setup)"
        );
    }
}

/// A mounted tmpfs, unmounted when dropped.
pub struct Ram(tempfile::TempDir);

impl Ram {
    pub fn mount(bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let size = format!("size={bytes},mode=777");
        let path = directory.path().to_str().expect("UTF-8");
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", path]);
        // Who copies our mounts into a namespace of his own shall lose them with us.
        as_root(&["mount", "--make-shared", path]);
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // A test that fails may still have files open here.
        let _still_busy = try_as_root(&["umount", "--lazy", self.path().to_str().expect("UTF-8")]);
    }
}

/// An ext4 in a file in memory, mounted through a loop device while [`Image::path`] is used.
pub struct Image {
    ram: Ram,
    mounted: bool,
}

impl Image {
    /// Makes and mounts a file system of `bytes`. `room_bytes` is what the memory behind it has:
    /// less than `bytes` makes a disk whose last blocks answer with errors.
    pub fn new(bytes: u64, room_bytes: u64) -> Self {
        Self::with(bytes, room_bytes, &[])
    }

    /// The same without a journal of its own, which goes on after errors.
    pub fn without_journal(bytes: u64, room_bytes: u64) -> Self {
        Self::with(bytes, room_bytes, &["-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0"])
    }

    fn with(bytes: u64, room_bytes: u64, options: &[&str]) -> Self {
        let ram = Ram::mount(room_bytes);
        std::fs::create_dir(ram.path().join("mnt")).expect("a folder");
        let file = std::fs::File::create(ram.path().join("disk")).expect("a file");
        file.set_len(bytes).expect("a sparse file");
        let mut image = Self { ram, mounted: false };
        let name = image.file();
        as_root(&[&["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096"], options, &[name.as_str()]].concat());
        image.mount();
        image
    }

    fn file(&self) -> String {
        self.ram.path().join("disk").to_str().expect("UTF-8").to_owned()
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.ram.path().join("mnt")
    }

    /// The memory behind the disk; what is written here is missing there.
    pub fn behind(&self) -> &Path {
        self.ram.path()
    }

    /// From this byte on the device gives an error where it is read. Gives what was there. Nothing may
    /// be written there until [`Image::restore`].
    pub fn cut(&self, at: u64) -> Vec<u8> {
        // Nothing of it is to be written later.
        let root = std::fs::File::open(self.path()).expect("the mounted folder");
        rustix::fs::syncfs(&root).expect("it syncs");
        let content = std::fs::read(self.file()).expect("the memory behind the disk");
        let file = std::fs::OpenOptions::new().write(true).open(self.file()).expect("it is ours");
        file.set_len(at).expect("it becomes shorter");
        content[usize::try_from(at).expect("small")..].to_vec()
    }

    /// Gives the device back what [`Image::cut`] took.
    pub fn restore(&self, rest: &[u8]) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.file()).expect("it is ours");
        file.write_all(rest).expect("there is room");
    }

    /// Bytes of the device that are there.
    pub fn length(&self) -> u64 {
        std::fs::metadata(self.file()).expect("it is ours").len()
    }

    /// Mounts it. A mount namespace that was made meanwhile (`ip netns exec` makes one) may still
    /// hold the file system that was shut down: then it is tried again.
    pub fn mount(&mut self) {
        let path = self.path();
        let path = path.to_str().expect("UTF-8");
        let mut why = String::new();
        let end = Instant::now() + PATIENCE;
        loop {
            as_root(&["mount", "-o", "loop,noatime", &self.file(), path]);
            self.mounted = true;
            match try_as_root(&["chmod", "777", path]) {
                Ok(()) => return,
                Err(error) if Instant::now() < end => why = error,
                Err(_) => panic!("somebody holds the disk: {why}"),
            }
            self.unmount();
        }
    }

    /// Unmounts; waits for files that are just being closed.
    pub fn unmount(&mut self) {
        let path = self.path();
        let path = path.to_str().expect("UTF-8");
        wait_for("unmounted disk", PATIENCE, || try_as_root(&["umount", path]).ok());
        self.mounted = false;
    }

    /// Makes ext4 find an error, as a worn-out disk does; what follows says its mount option `errors`.
    pub fn break_down(&self) {
        self.set("trigger_fs_error", 1);
    }

    /// Makes ext4 give away all blocks: else it keeps some for itself, however full it is.
    pub fn reserve_nothing(&self) {
        self.set("reserved_clusters", 0);
    }

    /// Writes one of ext4's own settings.
    fn set(&self, setting: &str, value: u32) {
        let output = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.path()).output();
        let device = String::from_utf8(output.expect("findmnt runs").stdout).expect("UTF-8");
        let name = device.trim().trim_start_matches("/dev/");
        as_root(&["sh", "-c", &format!("echo {value} > /sys/fs/ext4/{name}/{setting}")]);
    }

    /// Repairs it while it is not mounted.
    pub fn repair(&self) {
        // 1 = errors were corrected.
        let script = format!("e2fsck -f -y {} >&2 || [ $? = 1 ]", self.file());
        as_root(&["sh", "-c", &script]);
    }

    /// Mounts it anew with other options, such as `ro`.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        as_root(&["mount", "-o", &options, self.path().to_str().expect("UTF-8")]);
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _still_busy = try_as_root(&["umount", "--lazy", self.path().to_str().expect("UTF-8")]);
        }
    }
}

/// Cuts the power of images.
pub struct Cutter(Peer);

impl Cutter {
    pub fn start() -> Self {
        Self(Peer::start(Python::Current, "power_cut.py", &[]))
    }

    /// Everything that is not on the disk is gone, and every write from now on fails.
    pub fn cut(&mut self, image: &Image) {
        self.0.command(&format!("cut {}", image.path().display()));
    }
}
