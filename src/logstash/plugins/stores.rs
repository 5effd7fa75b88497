//! Java's stores of certificates and keys, which Logstash takes: their kinds, and the commands that turn them into PEM files.

/// The kind of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// Text with certificates and keys.
    Pem,
    /// PKCS#12, a binary file for certificates and keys.
    Pkcs12,
    /// Java's own format.
    Jks,
}

impl Store {
    /// The kind of a store whose type (where it is given) and path these are. Without a type, the name tells.
    pub(super) fn of(kind: Option<&str>, path: Option<&str>) -> Store {
        match kind.map(str::to_ascii_lowercase).as_deref() {
            Some("pem") => Store::Pem,
            Some("pkcs12" | "p12") => Store::Pkcs12,
            Some("jks") => Store::Jks,
            _ => match path
                .and_then(|path| path.rsplit_once('.'))
                .map(|(_, ending)| ending.to_ascii_lowercase())
                .as_deref()
            {
                Some("pem" | "crt" | "cer") => Store::Pem,
                Some("p12" | "pfx" | "pkcs12") => Store::Pkcs12,
                _ => Store::Jks,
            },
        }
    }

    /// The command that writes the authorities of a trust store to `ca.pem`.
    pub(super) fn authorities_command(self, path: &str) -> String {
        match self {
            Store::Jks => format!("keytool -list -rfc -keystore {path} > ca.pem"),
            Store::Pkcs12 | Store::Pem => format!("openssl pkcs12 -in {path} -nokeys -out ca.pem"),
        }
    }

    /// The commands that write the certificate and the key of a key store to `client.crt` and `client.key`.
    pub(super) fn client_commands(self, path: &str) -> String {
        let (first, path) = match self {
            Store::Jks => (format!("{} && ", pkcs12_command(path)), "client.p12"),
            Store::Pkcs12 | Store::Pem => (String::new(), path),
        };
        format!(
            "{first}openssl pkcs12 -in {path} -clcerts -nokeys -out client.crt && openssl pkcs12 -in {path} -nocerts -nodes -out client.key"
        )
    }
}

/// The command that turns a Java key store into PKCS#12.
pub(super) fn pkcs12_command(path: &str) -> String {
    format!("keytool -importkeystore -srckeystore {path} -destkeystore client.p12 -deststoretype PKCS12")
}
