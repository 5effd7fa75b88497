//! A TCP proxy that does what networks do: cuts connections, refuses them, falls silent without closing, cuts an answer
//! in the middle.
//!
//! One thread a direction: a few dozen connections are all that a test has.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How the proxy treats traffic now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Weather {
    /// Everything passes.
    Fair = 0,
    /// Connections are closed, new ones at once.
    Refusing = 1,
    /// Nothing passes and nothing is closed: a half-open connection.
    Silent = 2,
    /// Requests pass; of each answer only a beginning, then the connection is closed.
    Cutting = 3,
    /// Everything passes, late.
    Slow = 4,
}

/// How often a thread looks up from waiting for bytes.
const LOOK_UP: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_millis(40);

#[derive(Default)]
struct State {
    weather: AtomicU8,
    /// Connections older than this are to be cut.
    epoch: AtomicU64,
}

/// A running proxy; it lives as long as the process.
pub struct Proxy {
    state: Arc<State>,
    address: SocketAddr,
}

impl Proxy {
    /// Listens on `listen` and passes everything on to `target`.
    pub fn start(listen: SocketAddr, target: String) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is(Weather::Refusing) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let epoch = shared.epoch.load(Ordering::SeqCst);
                if let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) {
                    let (up, down) = (shared.clone(), shared.clone());
                    std::thread::spawn(move || pump(from_client, server, &up, epoch, false));
                    std::thread::spawn(move || pump(from_server, client, &down, epoch, true));
                }
            }
        });
        Ok(Proxy { state, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather for old and new connections.
    pub fn set(&self, weather: Weather) {
        self.state.weather.store(weather as u8, Ordering::SeqCst);
    }

    /// Cuts every connection of now; new ones are welcome.
    pub fn cut(&self) {
        self.state.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

impl State {
    fn is(&self, weather: Weather) -> bool {
        self.weather.load(Ordering::SeqCst) == weather as u8
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State, epoch: u64, is_answer: bool) {
    let mut buffer = vec![0; 64 << 10];
    let _ = from.set_read_timeout(Some(LOOK_UP));
    loop {
        if state.epoch.load(Ordering::SeqCst) != epoch || state.is(Weather::Refusing) {
            break;
        }
        if state.is(Weather::Silent) {
            std::thread::sleep(LOOK_UP);
            continue;
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if state.is(Weather::Slow) {
            std::thread::sleep(LATE);
        }
        if is_answer && state.is(Weather::Cutting) {
            let _ = to.write_all(&buffer[..read / 2]);
            break;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
