//! Users of a target as settings name them.

use crate::Users;
use std::collections::BTreeSet;

/// A user, by number, or by name if the target's `users` table has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "a user is a number, or a name that the target's `users` has")]
pub(crate) enum UserReference {
    Id(u32),
    Name(String),
}

impl UserReference {
    /// The number, or what is wrong with the setting `key` that names the user.
    pub(crate) fn resolve(&self, key: &str, users: &Users) -> Result<u32, String> {
        match self {
            UserReference::Id(id) => Ok(*id),
            UserReference::Name(name) => users.get(name).copied().ok_or_else(|| {
                format!("`{key}` names user `{name}`: give its number, or add it to the target's `users`")
            }),
        }
    }
}

/// The numbers of several users.
pub(crate) fn resolve_all(
    references: &[UserReference],
    key: &str,
    users: &Users,
) -> Result<BTreeSet<u32>, String> {
    references.iter().map(|reference| reference.resolve(key, users)).collect()
}
