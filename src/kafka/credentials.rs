//! Credentials and TLS material of Kafka clients, and their replacement in a running client.
//!
//! A secret in a file may be rotated at any time. The owner of a client in a pipeline (a source, a sink, the
//! dead-letter writer) holds a [`Login`], which a reload overwrites, and checks it before it continues. A new password
//! is set in the running librdkafka client, which uses it for the next connection that it opens; existing connections
//! are kept. New certificates, keys and CA certificates ([`Papers`]) can't be set: the owner creates another client,
//! and keeps the old one if librdkafka rejects the new ones.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::bindings;
use rdkafka::client::Client;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{FutureProducer, Producer as _};
use rdkafka::{ClientConfig, ClientContext};
use tracing::{error, info, warn};

use crate::kafka::client_log::Logged;
use crate::telemetry::metrics as names;

use super::papers::Papers;

/// User name and password, for SASL PLAIN and SCRAM.
type Credentials = (String, String);

#[derive(Default)]
struct Shared {
    credentials: Mutex<Option<Credentials>>,
    changes: AtomicU64,
    papers: Mutex<Papers>,
    renewals: AtomicU64,
}

/// The credentials and TLS material of one client, shared with the reload.
#[derive(Clone, Default)]
pub struct Login(Arc<Shared>);

impl fmt::Debug for Login {
    /// Omits everything, because it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Login {
    /// Returns the credentials in a client's properties (`sasl.username`, `sasl.password`), if there are any, and the
    /// TLS material with the current content of its files.
    pub fn of(properties: &BTreeMap<String, String>) -> Login {
        let both = properties.get("sasl.username").zip(properties.get("sasl.password"));
        let credentials = both.map(|(user, password)| (user.clone(), password.clone()));
        Login(Arc::new(Shared {
            credentials: Mutex::new(credentials),
            papers: Mutex::new(Papers::of(properties)),
            ..Shared::default()
        }))
    }

    fn credentials(&self) -> Option<Credentials> {
        self.0.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn papers(&self) -> Papers {
        self.0.papers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the files that contain the TLS material.
    pub fn files(&self) -> Vec<PathBuf> {
        self.papers().files().map(PathBuf::from).collect()
    }

    /// Takes the credentials and TLS material of the same client in a newly loaded pipeline.
    pub fn adopt(&self, newer: &Login) {
        let papers = newer.papers();
        {
            let mut held = self.0.papers.lock().unwrap_or_else(PoisonError::into_inner);
            if *held != papers {
                *held = papers;
                self.0.renewals.fetch_add(1, Ordering::Release);
            }
        }
        let newer = newer.credentials();
        let mut held = self.0.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if newer.is_some() && *held != newer {
            *held = newer;
            self.0.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns a follower for the owner of a client that is created with the same properties. `client` names it in logs
    /// and metrics.
    pub fn follow(&self, client: &'static str) -> Follower {
        Follower { client, login: self.clone(), seen: AtomicU64::new(0), looked: 0, in_use: self.papers() }
    }
}

/// The part of a [`Login`] that one client already uses.
pub struct Follower {
    client: &'static str,
    login: Login,
    seen: AtomicU64,
    /// Number of the last renewal that was checked.
    looked: u64,
    /// TLS material that the client was created with.
    in_use: Papers,
}

impl Follower {
    /// Sets the client's credentials if they have changed since the last call.
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

    /// Returns a client's properties with the current credentials and the TLS material in use.
    pub fn up_to_date(&self, properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.with(&self.in_use, properties)
    }

    fn with(&self, papers: &Papers, properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut properties = properties.clone();
        papers.replace(&mut properties);
        if let Some((user, password)) = self.login.credentials() {
            properties.extend([("sasl.username".to_string(), user), ("sasl.password".to_string(), password)]);
        }
        properties
    }

    /// For a producer that has nothing under way: tells it of another password, and puts another in its place where that is not enough,
    /// or where it has met what an idempotent producer never recovers from.
    pub fn keep_up(
        &mut self,
        producer: &mut FutureProducer<Logged>,
        properties: &BTreeMap<String, String>,
        config: impl Fn(&BTreeMap<String, String>) -> ClientConfig,
        logged: &Logged,
    ) {
        self.refresh(producer.client());
        if let Some(newer) = self.renew(properties, |properties| config(properties).create_with_context(logged.clone()))
        {
            *producer = newer;
        }
        if let Some((_, problem)) = producer.client().fatal_error() {
            match config(&self.up_to_date(properties)).create_with_context(logged.clone()) {
                Ok(newer) => {
                    warn!(client = self.client, problem, "a producer has given up for good: another takes over");
                    *producer = newer;
                }
                Err(error) => {
                    error!(client = self.client, %error, problem, "a producer has given up for good, and no other can be made")
                }
            }
        }
    }

    /// Creates another client if the TLS material has changed: `make` receives the properties with the new material.
    /// Returns `None` if nothing has changed, or if no client can be created; in the latter case the error is logged
    /// and the current client stays in use.
    pub fn renew<T>(
        &mut self,
        properties: &BTreeMap<String, String>,
        make: impl FnOnce(&BTreeMap<String, String>) -> KafkaResult<T>,
    ) -> Option<T> {
        let renewals = self.login.0.renewals.load(Ordering::Acquire);
        if std::mem::replace(&mut self.looked, renewals) == renewals {
            return None;
        }
        let papers = self.login.papers();
        if papers == self.in_use {
            return None;
        }
        let made = make(&self.with(&papers, properties));
        let outcome = if made.is_ok() { "ok" } else { "refused" };
        metrics::counter!(names::CLIENT_RENEWALS, "client" => self.client, "outcome" => outcome).increment(1);
        match made {
            Ok(made) => {
                info!(
                    client = self.client,
                    "kafka's certificates, keys or secrets have changed: a new client takes over"
                );
                self.in_use = papers;
                Some(made)
            }
            Err(error) => {
                error!(client = self.client, %error, "kafka's new certificates, keys or secrets are not taken: the old ones stay in use");
                None
            }
        }
    }
}

/// Sets a client's SASL credentials.
///
/// `rdkafka` has no function for this, although librdkafka supports it since 1.9. Without it, a rotated password would
/// require a restart.
#[allow(unsafe_code)]
fn tell<C: ClientContext>(client: &Client<C>, user: &str, password: &str) -> Result<(), String> {
    let text = |text: &str| CString::new(text).map_err(|_| "a user or password holds a NUL".to_string());
    let (user, password) = (text(user)?, text(password)?);
    // SAFETY: the client is borrowed, so its handle is alive; both texts are NUL-terminated and copied by the callee;
    // the error, if there is one, is owned by this function, which destroys it once.
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
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

    use super::*;

    fn login(user: &str, password: &str) -> Login {
        let properties = [("sasl.username", user), ("sasl.password", password)];
        Login::of(&properties.map(|(name, value)| (name.to_string(), value.to_string())).into())
    }

    #[test]
    fn a_client_is_told_once_of_each_change() {
        let running = login("app", "old");
        let follower = running.follow("test");
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
    fn a_client_is_made_anew_once_for_each_change_of_its_papers_and_stays_where_the_new_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let properties = BTreeMap::from([
            ("ssl.ca.location".to_string(), path.to_string_lossy().into_owned()),
            ("sasl.oauthbearer.client.secret".to_string(), "one".to_string()),
            ("client.id".to_string(), "logproc".to_string()),
        ]);
        std::fs::write(&path, "old").unwrap();
        let running = Login::of(&properties);
        assert_eq!(running.files(), [path.as_path()]);
        let mut follower = running.follow("test");
        let refused = || Err(rdkafka::error::KafkaError::ClientCreation("no certificate".to_string()));
        // Writing the same content again is no change. New content, a missing file, and any content after a rejected
        // one are changes.
        let steps = [
            ("old", true, None),
            ("new", true, Some("new")),
            ("new", true, None),
            ("bad", false, None),
            ("bad", true, None),
            ("newer", true, Some("newer")),
        ];
        for (content, is_good, made) in steps {
            std::fs::write(&path, content).unwrap();
            running.adopt(&Login::of(&properties));
            let answer = follower.renew(&properties, |_| if is_good { Ok(content) } else { refused() });
            assert_eq!(answer, made, "{content}");
        }
        std::fs::remove_file(&path).unwrap();
        running.adopt(&Login::of(&properties));
        assert_eq!(follower.renew(&properties, |_| refused()), None);

        let secret = ("sasl.oauthbearer.client.secret".to_string(), "two".to_string());
        std::fs::write(&path, "newer").unwrap();
        let rotated: BTreeMap<_, _> = properties.clone().into_iter().chain([secret]).collect();
        running.adopt(&Login::of(&rotated));
        let made = follower.renew(&properties, |properties| Ok(properties.clone())).unwrap();
        assert_eq!(made, rotated);
        assert_eq!(follower.up_to_date(&properties), rotated, "and so is the next client, whatever it is made for");
    }

    #[test]
    fn a_login_shows_nothing() {
        assert_eq!(format!("{:?}", login("app", "secret")), "Login");
    }
}
