//! How the NIC says that a request ended.

use crate::access::AccessError;
use rdma_mummy_sys::ibv_wc_status as status;
use std::io;
use std::time::Duration;

/// What a completion's status means. The NIC names the first request that failed; later ones of the batch are flushed
/// and nobody looks at them.
pub(super) fn meaning(code: status::Type, waited: impl FnOnce() -> Duration) -> Result<(), AccessError> {
    match code {
        status::IBV_WC_SUCCESS => Ok(()),
        status::IBV_WC_RETRY_EXC_ERR | status::IBV_WC_RNR_RETRY_EXC_ERR | status::IBV_WC_RESP_TIMEOUT_ERR => {
            Err(AccessError::Unreachable { after: waited() })
        }
        status::IBV_WC_REM_ACCESS_ERR
        | status::IBV_WC_REM_INV_REQ_ERR
        | status::IBV_WC_REM_OP_ERR
        | status::IBV_WC_REM_INV_RD_REQ_ERR
        | status::IBV_WC_REM_ABORT_ERR => Err(AccessError::Denied),
        // Requests are flushed unsent only behind one that failed, or when the local NIC ends the queue pair.
        status::IBV_WC_WR_FLUSH_ERR => {
            Err(AccessError::Device(io::Error::other("the queue pair was ended by its NIC")))
        }
        other => Err(AccessError::Device(io::Error::other(format!("completion status {other}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_unreachable_and_a_refusal_is_denied() {
        let now = || Duration::ZERO;
        assert!(meaning(status::IBV_WC_SUCCESS, now).is_ok());
        assert!(matches!(meaning(status::IBV_WC_RETRY_EXC_ERR, now), Err(AccessError::Unreachable { .. })));
        assert!(matches!(
            meaning(status::IBV_WC_RNR_RETRY_EXC_ERR, now),
            Err(AccessError::Unreachable { .. })
        ));
        assert!(matches!(meaning(status::IBV_WC_REM_ACCESS_ERR, now), Err(AccessError::Denied)));
        assert!(matches!(meaning(status::IBV_WC_REM_INV_REQ_ERR, now), Err(AccessError::Denied)));
        assert!(matches!(meaning(status::IBV_WC_LOC_PROT_ERR, now), Err(AccessError::Device(_))));
        assert!(matches!(meaning(status::IBV_WC_WR_FLUSH_ERR, now), Err(AccessError::Device(_))));
    }
}
