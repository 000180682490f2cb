//! What target and monitor share after a handshake, and nobody else knows.

use crate::emulated::random;
use serde::{Deserialize, Serialize};
use std::io;

/// Sixteen random bytes that a target makes at each handshake. It is never printed, and sent inside the handshake only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 16]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate() -> io::Result<Secret> {
        random().map(Secret).map_err(io::Error::other)
    }

    /// The one of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Secret {
        Secret(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}
