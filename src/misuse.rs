//! A command line that asks for what can't be. Some of that shows only when files, brokers or clusters have been looked at,
//! deep in the work; it ends with the exit code of wrong usage all the same.

/// What is asked for and can't be, in words that name the option or the argument.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

/// Returns with a [`Misuse`], worded as `format!` does.
macro_rules! misuse {
    ($($words:tt)*) => { return Err($crate::misuse::Misuse(format!($($words)*)).into()) };
}
pub(crate) use misuse;
