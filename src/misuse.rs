//! Usage errors of the command line. Some are detected only after files, brokers or clusters have been accessed, deep
//! in the call stack; the process still exits with the code for wrong usage.

/// A usage error, with a message that names the option or the argument.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// Returns early with a [`Misuse`], whose message is formatted as by `format!`.
macro_rules! misuse {
    ($($words:tt)*) => { return Err($crate::misuse::Misuse(format!($($words)*)).into()) };
}
pub(crate) use misuse;
