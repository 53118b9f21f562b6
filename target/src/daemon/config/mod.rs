//! The configuration file: TOML to [`super::spec::ServeSpec`].
//!
//! Two steps. [`tables`] is the shape of the file, read by serde with unknown keys denied; [`resolve`] checks what the shape
//! cannot say (names, addresses, numbers that refer to each other, secrets) and collects every problem, so that one
//! run shows all of them. [`problem`] turns either kind into file, line, column, the key and what to do.
//!
//! docs/serve.md describes every key; a test holds it and [`tables::KEYS`] together.

pub mod problem;
pub mod resolve;
pub mod secret;
pub mod tables;

use std::path::Path;

pub use problem::ConfigError;

use super::spec::ServeSpec;
use crate::limits::CONFIG_LEN_MAX;

/// Reads the configuration file at `path`. Relative paths in it start at its folder. `variable` looks up an environment
/// variable (for `secret_env`).
///
/// # Errors
/// [`ConfigError`] with every problem that was found.
pub fn load(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<ServeSpec, ConfigError> {
    let name = path.display().to_string();
    let unreadable = |reason: String| ConfigError::unreadable(name.clone(), reason);
    let length = path.metadata().map_err(|error| unreadable(error.to_string()))?.len();
    if length > CONFIG_LEN_MAX {
        return Err(unreadable(format!("it has {length} bytes; the limit is {CONFIG_LEN_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&name, &text, folder, variable)
}

/// Reads configuration `text`; `name` is what errors call it.
///
/// # Errors
/// As [`load`].
pub fn parse(
    name: &str,
    text: &str,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ServeSpec, ConfigError> {
    let tables: tables::File = toml::from_str(text).map_err(|error| ConfigError::toml(name, text, &error))?;
    resolve::resolve(tables, folder, variable).map_err(|problems| ConfigError::new(name, text, problems))
}

#[cfg(test)]
mod tests;
