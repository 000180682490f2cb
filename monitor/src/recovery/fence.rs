//! Fencing a target: after this it sends nothing from its services' addresses, whatever it does.

use crate::link::Link;

/// Why the fence was not set, or not lifted.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The target has none.
    #[error("the target cannot be fenced through its memory")]
    None,
}

/// Sets the fence, and reads back that it holds.
pub fn set(_link: &mut dyn Link) -> Result<(), FenceError> {
    Err(FenceError::None)
}

/// Lifts the fence.
pub fn lift(_link: &mut dyn Link) -> Result<(), FenceError> {
    Err(FenceError::None)
}
