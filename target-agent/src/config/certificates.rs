//! One certificate, or several while a monitor's key is rolled over.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(path) => Ok(vec![path]),
        OneOrMore::More(paths) if paths.is_empty() => Err(D::Error::custom(
            "a monitor without a certificate is nobody: name one, or remove the monitor",
        )),
        OneOrMore::More(paths) => Ok(paths),
    }
}
