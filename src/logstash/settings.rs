//! Logstash's own settings that change what a configuration means: from `logstash.yml` and `pipelines.yml`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The settings that hold for a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `config.support_escapes`.
    pub support_escapes: Option<bool>,
    /// `pipeline.ecs_compatibility`.
    pub ecs_compatibility: Option<String>,
}

const LOGSTASH: &str = "logstash.yml";
const PIPELINES: &str = "pipelines.yml";

impl Settings {
    /// Reads the settings for `configuration` (a file, a folder or a pattern). `named` is one of the two files, or their
    /// folder; without it they are looked for beside the configuration and one folder above, as in `/etc/logstash`.
    ///
    /// # Errors
    /// A file is there and can't be read, or is no YAML; `named` is not there.
    pub fn of(configuration: &Path, named: Option<&Path>) -> io::Result<Settings> {
        let files: Vec<PathBuf> = match named {
            Some(path) if path.is_dir() => vec![path.join(LOGSTASH), path.join(PIPELINES)],
            Some(path) => vec![path.to_path_buf()],
            None => beside(configuration),
        };
        let mut settings = Settings::default();
        for file in files {
            if named == Some(file.as_path()) || file.exists() {
                let document = read(&file)?;
                let own = match &document {
                    Value::Array(pipelines) => {
                        entry_for(pipelines, configuration).map(Settings::from_document).unwrap_or_default()
                    }
                    document => Settings::from_document(document),
                };
                // What `pipelines.yml` says of a pipeline comes before what holds for all.
                settings.support_escapes = own.support_escapes.or(settings.support_escapes);
                settings.ecs_compatibility = own.ecs_compatibility.or(settings.ecs_compatibility);
            }
        }
        Ok(settings)
    }

    fn from_document(document: &Value) -> Settings {
        let escapes = setting(document, "config", "support_escapes");
        let ecs = setting(document, "pipeline", "ecs_compatibility").and_then(Value::as_str);
        Settings {
            support_escapes: escapes.and_then(|escapes| escapes.as_bool().or_else(|| escapes.as_str()?.parse().ok())),
            ecs_compatibility: ecs.filter(|ecs| matches!(*ecs, "disabled" | "v1" | "v8")).map(str::to_string),
        }
    }
}

/// The files that apply where none is named: those of the nearest of two folders that has any.
fn beside(configuration: &Path) -> Vec<PathBuf> {
    let folder = if configuration.is_dir() { Some(configuration) } else { configuration.parent() };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let both = |folder: &Path| vec![folder.join(LOGSTASH), folder.join(PIPELINES)];
    [folder.to_path_buf(), folder.join("..")]
        .iter()
        .map(|folder| both(folder))
        .find(|files| files.iter().any(|file| file.exists()))
        .unwrap_or_default()
}

fn read(file: &Path) -> io::Result<Value> {
    let said = |kind, error: String| io::Error::new(kind, format!("{}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| said(error.kind(), error.to_string()))?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(&text).map_err(|error| said(io::ErrorKind::InvalidData, error.to_string()))
}

/// A setting, written flat (`config.support_escapes`) or nested.
fn setting<'a>(document: &'a Value, group: &str, name: &str) -> Option<&'a Value> {
    document.get(format!("{group}.{name}")).or_else(|| document.get(group)?.get(name))
}

/// The entry of `pipelines.yml` for a configuration: that whose `path.config` stands for it, or the only one.
fn entry_for<'a>(pipelines: &'a [Value], configuration: &Path) -> Option<&'a Value> {
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let wanted = canonical(configuration);
    let stands_for = |pipeline: &&Value| {
        let Some(config) = setting(pipeline, "path", "config").and_then(Value::as_str) else { return false };
        let path = Path::new(config);
        path == configuration
            || canonical(path) == wanted
            || crate::files::glob::expand(config).iter().any(|file| canonical(file) == wanted)
    };
    pipelines.iter().find(stands_for).or_else(|| pipelines.first().filter(|_| pipelines.len() == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(escapes: Option<bool>, ecs: Option<&str>) -> Settings {
        Settings { support_escapes: escapes, ecs_compatibility: ecs.map(str::to_string) }
    }

    #[test]
    fn settings_are_found_beside_and_above_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let (above, conf) = (folder.path(), folder.path().join("conf.d"));
        std::fs::create_dir(&conf).unwrap();
        let (a, b) = (conf.join("a.conf"), conf.join("b.conf"));
        for file in [&a, &b] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(Settings::of(&a, None).unwrap(), settings(None, None));
        std::fs::write(
            above.join(LOGSTASH),
            "config.support_escapes: true\npipeline:\n  ecs_compatibility: disabled\n",
        )
        .unwrap();
        assert_eq!(Settings::of(&a, None).unwrap(), settings(Some(true), Some("disabled")));
        let pipelines = format!(
            "- pipeline.id: a\n  path.config: {}\n  config.support_escapes: false\n- pipeline.id: b\n  path.config: {}/b*.conf\n  pipeline.ecs_compatibility: v1\n",
            a.display(),
            conf.display()
        );
        std::fs::write(above.join(PIPELINES), pipelines).unwrap();
        assert_eq!(Settings::of(&a, None).unwrap(), settings(Some(false), Some("disabled")));
        assert_eq!(Settings::of(&b, None).unwrap(), settings(Some(true), Some("v1")));
        assert_eq!(Settings::of(&b, Some(&above.join(LOGSTASH))).unwrap(), settings(Some(true), Some("disabled")));
        assert_eq!(Settings::of(&b, Some(above)).unwrap(), settings(Some(true), Some("v1")));
        assert!(Settings::of(&b, Some(&above.join("no.yml"))).is_err());
        std::fs::write(above.join(LOGSTASH), "# nothing set\n").unwrap();
        std::fs::remove_file(above.join(PIPELINES)).unwrap();
        assert_eq!(Settings::of(&a, None).unwrap(), settings(None, None));
    }
}
