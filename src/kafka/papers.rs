//! TLS material of a Kafka client: certificates, keys, CA certificates, and the secret for a token issuer. librdkafka
//! reads it when a client is created and can't replace it in a running client, so the owner creates another client.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

/// librdkafka properties that name a file or a folder of files.
const FILES: &[&str] = &[
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "https.ca.location",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
];

/// librdkafka properties that contain the material or its password itself.
const TEXTS: &[&str] = &[
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.pem",
    "https.ca.pem",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
];

/// The TLS material of one client: properties, and digests of the files that they name.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Papers {
    properties: BTreeMap<String, String>,
    /// Per file a digest of its content; `None` if the file can't be read.
    contents: Vec<(PathBuf, Option<u64>)>,
}

impl Papers {
    /// Returns the material in a client's properties and in the files that they name.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Papers {
        let papers = properties.iter().filter(|(name, _)| is_paper(name));
        let files = FILES.iter().filter_map(|name| properties.get(*name)).map(PathBuf::from);
        Papers {
            properties: papers.map(|(name, value)| (name.clone(), value.clone())).collect(),
            contents: files.map(|path| (path.clone(), digest(&path).ok())).collect(),
        }
    }

    /// Returns the paths of the files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.contents.iter().map(|(path, _)| path.as_path())
    }

    /// Replaces the material in a client's properties by this one.
    pub(super) fn replace(&self, properties: &mut BTreeMap<String, String>) {
        properties.retain(|name, _| !is_paper(name));
        properties.extend(self.properties.clone());
    }
}

fn is_paper(name: &str) -> bool {
    FILES.contains(&name) || TEXTS.contains(&name)
}

fn digest(path: &Path) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    if path.is_dir() {
        let mut entries =
            std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for entry in entries.iter().filter(|entry| entry.is_file()) {
            (entry, std::fs::read(entry)?).hash(&mut hasher);
        }
    } else {
        std::fs::read(path)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
