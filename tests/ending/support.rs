//! A running process that is killed when it is dropped, and servers that harm it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after the time to drain, or after a second signal, the process may take to be gone on a busy machine.
pub const SHORTLY: Duration = Duration::from_secs(2);

#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A pipeline in a folder of its own, with what its process writes.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn with_pipeline(text: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        let text = text.replace("FOLDER", &folder.0.path().display().to_string());
        std::fs::write(folder.path("pipeline.toml"), text).unwrap();
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The product with arguments and this pipeline; its log goes to the file `log`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = product(arguments);
        command
            .arg("--pipeline")
            .arg(self.path("pipeline.toml"))
            .stderr(std::fs::File::create(self.path("log")).unwrap());
        command
    }
}

pub fn product(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logproc"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A running process.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end, which must come within `limit`.
    #[track_caller]
    pub fn end_within(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        let mut status = None;
        until("the process to end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(began.elapsed() < limit, "it took {:?}", began.elapsed());
        status.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server does with each connection.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Accepts it and returns nothing.
    Deaf,
    /// Reads what comes first and cuts the connection, with unread bytes left, which resets it.
    Resetting,
}

/// Starts a server that lives as long as the test's process; returns its address.
pub fn server(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut held: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            match manner {
                Manner::Deaf => held.push(stream),
                Manner::Resetting => drop(stream.read(&mut [0])),
            }
        }
    });
    address
}

/// An address that nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A metric of a process; `None` while it is not served.
pub fn metric(address: &str, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let line = answer.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
    line.rsplit(' ').next()?.parse().ok()
}

pub fn count_lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}
