//! What clients of Kafka log in with, and how a running client gets to know of another password.
//!
//! A password that lies in a file is replaced there by whoever rotates it. The place of a client in a pipeline (a source,
//! a sink, the dead letters) holds a [`Login`], which a reload overwrites; the client looks at it before it goes on, and
//! librdkafka uses what it is told with the next connection that it opens. Those that stand are not cut.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::bindings;
use rdkafka::client::Client;
use tracing::{error, info};

/// A user and a password, for SASL's PLAIN and SCRAM.
type Credentials = (String, String);

#[derive(Default)]
struct Shared {
    credentials: Mutex<Option<Credentials>>,
    changes: AtomicU64,
}

/// The credentials of one client, shared with whoever reloads them.
#[derive(Clone, Default)]
pub struct Login(Arc<Shared>);

impl fmt::Debug for Login {
    /// Shows nothing: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Login {
    /// The credentials among a client's properties (`sasl.username`, `sasl.password`), if there are any.
    pub fn of(properties: &BTreeMap<String, String>) -> Login {
        let both = properties.get("sasl.username").zip(properties.get("sasl.password"));
        let credentials = both.map(|(user, password)| (user.clone(), password.clone()));
        Login(Arc::new(Shared { credentials: Mutex::new(credentials), changes: AtomicU64::new(0) }))
    }

    fn credentials(&self) -> Option<Credentials> {
        self.0.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over the credentials of the same client in a pipeline that was loaded later.
    pub fn adopt(&self, newer: &Login) {
        let newer = newer.credentials();
        let mut held = self.0.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if newer.is_some() && *held != newer {
            *held = newer;
            self.0.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// For a client that is about to be made with the properties that this came from.
    pub fn follow(&self) -> Follower {
        Follower { login: self.clone(), seen: AtomicU64::new(0) }
    }
}

/// What one client has been told of its [`Login`].
pub struct Follower {
    login: Login,
    seen: AtomicU64,
}

impl Follower {
    /// Tells the client of its credentials if they have changed since it was last told.
    pub fn refresh<C: ClientContext>(&self, client: &Client<C>) {
        let changes = self.login.0.changes.load(Ordering::Acquire);
        if self.seen.swap(changes, Ordering::Relaxed) == changes {
            return;
        }
        let Some((user, password)) = self.login.credentials() else { return };
        match tell(client, &user, &password) {
            Ok(()) => info!("kafka's credentials have changed: the next connections use the new ones"),
            Err(problem) => error!(problem, "kafka's new credentials are not taken"),
        }
    }
}

/// Gives a client other credentials.
///
/// `rdkafka` has no function for this, though librdkafka has had one since 1.9; without it a rotated password would take a restart.
#[allow(unsafe_code)]
fn tell<C: ClientContext>(client: &Client<C>, user: &str, password: &str) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "a user or password holds a NUL".to_string());
    let (user, password) = (text(user)?, text(password)?);
    // SAFETY: the client is borrowed, so its handle is alive; both texts end with a NUL and are copied by the callee; the error, if
    // there is one, is ours to read and to destroy, once.
    unsafe {
        let error = bindings::rd_kafka_sasl_set_credentials(client.native_ptr(), user.as_ptr(), password.as_ptr());
        if error.is_null() {
            return Ok(());
        }
        let message = CStr::from_ptr(bindings::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        bindings::rd_kafka_error_destroy(error);
        Err(message)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    fn login(user: &str, password: &str) -> Login {
        let properties = [("sasl.username", user), ("sasl.password", password)];
        Login::of(&properties.map(|(name, value)| (name.to_string(), value.to_string())).into())
    }

    #[test]
    fn a_client_is_told_once_of_each_change() {
        let running = login("app", "old");
        let follower = running.follow();
        let client: BaseConsumer = ClientConfig::new().create().unwrap();
        for (newer, changes) in [("old", 0), ("new", 1), ("new", 1), ("newer", 2)] {
            running.adopt(&login("app", newer));
            follower.refresh(client.client());
            assert_eq!(follower.seen.load(Ordering::Relaxed), changes, "{newer}");
        }
        running.adopt(&Login::of(&BTreeMap::new()));
        assert_eq!(running.credentials(), Some(("app".to_string(), "newer".to_string())), "nothing is no news");
        assert!(tell(client.client(), "a\0b", "c").is_err());
    }

    #[test]
    fn a_login_shows_nothing() {
        assert_eq!(format!("{:?}", login("app", "secret")), "Login");
    }
}
