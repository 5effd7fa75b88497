//! What clients of Kafka prove who they are with, and how a running client gets to know of another password or certificate.
//!
//! A secret that lies in a file is replaced there by whoever rotates it. The place of a client in a pipeline (a source,
//! a sink, the dead letters) holds a [`Login`], which a reload overwrites; the client looks at it before it goes on. Of another
//! password librdkafka is told, and uses it with the next connection that it opens; those that stand are not cut. Of other
//! certificates, keys and authorities ([`papers`]) it can't be told: the client's owner makes another client, and when librdkafka
//! refuses them the old one stays.

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

use crate::observe::kafka_client::Logged;
use crate::observe::metrics as names;

pub(crate) mod client_properties;
mod papers;

use papers::Papers;

/// A user and a password, for SASL's PLAIN and SCRAM.
type Credentials = (String, String);

#[derive(Default)]
struct Shared {
    credentials: Mutex<Option<Credentials>>,
    changes: AtomicU64,
    papers: Mutex<Papers>,
    renewals: AtomicU64,
}

/// The credentials and papers of one client, shared with whoever reloads them.
#[derive(Clone, Default)]
pub struct Login(Arc<Shared>);

impl fmt::Debug for Login {
    /// Shows nothing: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Login {
    /// The credentials among a client's properties (`sasl.username`, `sasl.password`), if there are any, and its papers as their
    /// files are now.
    pub fn of(properties: &BTreeMap<String, String>) -> Login {
        let both = properties.get("sasl.username").zip(properties.get("sasl.password"));
        let credentials = both.map(|(user, password)| (user.clone(), password.clone()));
        Login(Arc::new(Shared { credentials: Mutex::new(credentials), papers: Mutex::new(Papers::of(properties)), ..Shared::default() }))
    }

    fn credentials(&self) -> Option<Credentials> {
        self.0.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn papers(&self) -> Papers {
        self.0.papers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files that hold its papers.
    pub fn files(&self) -> Vec<PathBuf> {
        self.papers().files().map(PathBuf::from).collect()
    }

    /// Takes over the credentials and papers of the same client in a pipeline that was loaded later.
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

    /// For the owner of a client that is made with the properties that this came from; `client` names it in logs and metrics.
    pub fn follow(&self, client: &'static str) -> Follower {
        Follower { client, login: self.clone(), seen: AtomicU64::new(0), looked: 0, in_use: self.papers() }
    }
}

/// What one client has been told of its [`Login`].
pub struct Follower {
    client: &'static str,
    login: Login,
    seen: AtomicU64,
    /// Which renewal was last looked at.
    looked: u64,
    /// The papers that the client was made with.
    in_use: Papers,
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

    /// A client's properties with the credentials that hold now and the papers that are in use.
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
        if let Some(newer) = self.renew(properties, |properties| config(properties).create_with_context(logged.clone())) {
            *producer = newer;
        }
        if let Some((_, problem)) = producer.client().fatal_error() {
            match config(&self.up_to_date(properties)).create_with_context(logged.clone()) {
                Ok(newer) => {
                    warn!(client = self.client, problem, "a producer has given up for good: another takes over");
                    *producer = newer;
                }
                Err(error) => error!(client = self.client, %error, problem, "a producer has given up for good, and no other can be made"),
            }
        }
    }

    /// Makes another client if the papers have changed: `make` gets the properties with the new ones. `None` when nothing has
    /// changed, or when no client can be made with them; the one that there is stays in use then, and the log says why.
    pub fn renew<T>(&mut self, properties: &BTreeMap<String, String>, make: impl FnOnce(&BTreeMap<String, String>) -> KafkaResult<T>) -> Option<T> {
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
                info!(client = self.client, "kafka's certificates, keys or secrets have changed: a new client takes over");
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
        // The same content written again is no change; another content and a file that is gone are, and so is what follows a refusal.
        let steps = [("old", true, None), ("new", true, Some("new")), ("new", true, None), ("bad", false, None), ("bad", true, None), ("newer", true, Some("newer"))];
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
