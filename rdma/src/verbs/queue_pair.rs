//! Queue pairs: reliable connections between two NICs.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::owner::Endpoint;
use crate::verbs::completion::CompletionQueue;
use crate::verbs::device::{Mtu, check};
use crate::verbs::protection_domain::ProtectionDomain;
use crate::verbs::region::Region;
use crate::verbs::send_list::SendList;
use crate::verbs::timing::Timing;
use crate::verbs::work::Work;
use rdma_mummy_sys as ffi;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

/// Most requests posted together.
pub(super) const DEPTH: u32 = 64;
/// Bytes asked to be sent without a detour through registered memory; every NIC grants as many.
const INLINE: u32 = 64;
/// Queue pair and packet sequence numbers have 24 bits.
const NUMBER: u32 = 0x00ff_ffff;
/// Waits this long, about 0.64 ms, before it sends again what the other side was not ready for.
const NOT_READY_TIMER: u8 = 12;
/// How often it does; seven would mean for ever.
const NOT_READY_RETRIES: u8 = 6;
/// Routers a packet may pass.
const HOPS: u8 = 64;

/// The other end of a connection, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    gid: [u8; 16],
    queue_pair: u32,
    packet_sequence: u32,
    mtu: Mtu,
    reads: u8,
}

impl Peer {
    /// Checks what another machine claims; `None` if it is another provider's endpoint or cannot be.
    pub(super) fn new(endpoint: &Endpoint) -> Option<Peer> {
        let Endpoint::Verbs { gid, queue_pair, packet_sequence, path_mtu, outstanding_reads } = *endpoint
        else {
            return None;
        };
        let mtu = Mtu::from_bytes(path_mtu)?;
        let possible =
            queue_pair <= NUMBER && packet_sequence <= NUMBER && outstanding_reads > 0 && gid != [0; 16];
        possible.then_some(Peer { gid, queue_pair, packet_sequence, mtu, reads: outstanding_reads })
    }
}

/// What a queue pair is for.
#[derive(Debug)]
pub(super) enum Role {
    /// It answers the other side's requests and sends none.
    Answers,
    /// It sends requests, whose local bytes are in this region, and answers none.
    Asks(Region),
}

/// A reliable-connected queue pair.
#[derive(Debug)]
pub(super) struct QueuePair {
    pair: NonNull<ffi::ibv_qp>,
    number: u32,
    packet_sequence: u32,
    inline: usize,
    role: Role,
    completions: Arc<CompletionQueue>,
    domain: Arc<ProtectionDomain>,
    sends: SendList,
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the pair belongs to this value.
unsafe impl Send for QueuePair {}

impl QueuePair {
    /// Makes a queue pair that can be connected. `completions` must have room for [`DEPTH`] more.
    pub(super) fn new(
        domain: Arc<ProtectionDomain>,
        completions: Arc<CompletionQueue>,
        role: Role,
    ) -> io::Result<QueuePair> {
        let mut wanted = MaybeUninit::<ffi::ibv_qp_init_attr>::zeroed();
        // SAFETY: pointers and integers, for which all zero is a value.
        let wanted = unsafe { wanted.assume_init_mut() };
        wanted.send_cq = completions.as_ptr();
        wanted.recv_cq = completions.as_ptr();
        wanted.qp_type = ffi::ibv_qp_type::IBV_QPT_RC;
        wanted.cap.max_send_wr = match role {
            Role::Answers => 1,
            Role::Asks(_) => DEPTH.min(domain.device().attributes().queue_depth),
        };
        wanted.cap.max_recv_wr = 1;
        wanted.cap.max_send_sge = 1;
        wanted.cap.max_recv_sge = 1;
        wanted.cap.max_inline_data = INLINE;
        let depth = wanted.cap.max_send_wr as usize;
        // SAFETY: the domain and the queue it names are alive, and held by the result; `wanted` is initialised.
        let pair = unsafe { ffi::ibv_create_qp(domain.as_ptr(), wanted) };
        let pair = NonNull::new(pair).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a queue pair is a valid structure whose number does not change.
        let number = unsafe { (*pair.as_ptr()).qp_num };
        let mut queue_pair = QueuePair {
            pair,
            number,
            packet_sequence: random_sequence()?,
            inline: wanted.cap.max_inline_data as usize,
            role,
            completions,
            domain,
            sends: SendList::new(depth),
        };
        queue_pair.initialise()?;
        Ok(queue_pair)
    }

    /// This end, as the other must know it.
    pub(super) fn endpoint(&self) -> Endpoint {
        let device = self.domain.device();
        Endpoint::Verbs {
            gid: device.gid(),
            queue_pair: self.number,
            packet_sequence: self.packet_sequence,
            path_mtu: device.path_mtu(),
            outstanding_reads: device.attributes().reads_answered,
        }
    }

    /// Most bytes of a request that is sent inline.
    pub(super) fn inline(&self) -> usize {
        self.inline
    }

    /// Requests that can be posted together.
    pub(super) fn depth(&self) -> usize {
        self.sends.depth()
    }

    /// The region the requests use.
    pub(super) fn arena(&self) -> Option<&Region> {
        match &self.role {
            Role::Asks(arena) => Some(arena),
            Role::Answers => None,
        }
    }

    /// Has later requests use another region. The caller has waited for the completion of what it posted before.
    pub(super) fn replace_arena(&mut self, arena: Region) {
        self.role = Role::Asks(arena);
    }

    /// Where the requests' completions come.
    pub(super) fn completions(&self) -> &CompletionQueue {
        &self.completions
    }

    fn initialise(&mut self) -> io::Result<()> {
        let device = self.domain.device();
        let mut rights = ffi::ibv_access_flags(0);
        if matches!(self.role, Role::Answers) {
            rights = ffi::ibv_access_flags::IBV_ACCESS_REMOTE_READ
                | ffi::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE;
            if device.attributes().atomics {
                rights |= ffi::ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC;
            }
        }
        let mut wanted = no_attributes();
        wanted.qp_state = ffi::ibv_qp_state::IBV_QPS_INIT;
        wanted.port_num = device.port().number;
        wanted.qp_access_flags = rights.0;
        self.modify(
            wanted,
            ffi::ibv_qp_attr_mask::IBV_QP_STATE
                | ffi::ibv_qp_attr_mask::IBV_QP_PKEY_INDEX
                | ffi::ibv_qp_attr_mask::IBV_QP_PORT
                | ffi::ibv_qp_attr_mask::IBV_QP_ACCESS_FLAGS,
        )
    }

    /// Joins it to its peer, whose requests are answered from now on.
    pub(super) fn accept(&mut self, peer: &Peer) -> io::Result<()> {
        let device = self.domain.device();
        let port = device.port();
        let mut wanted = no_attributes();
        wanted.qp_state = ffi::ibv_qp_state::IBV_QPS_RTR;
        wanted.path_mtu = port.mtu.min(peer.mtu).code();
        wanted.dest_qp_num = peer.queue_pair;
        wanted.rq_psn = peer.packet_sequence;
        wanted.max_dest_rd_atomic = match self.role {
            Role::Answers => device.attributes().reads_answered,
            Role::Asks(_) => 1,
        };
        wanted.min_rnr_timer = NOT_READY_TIMER;
        wanted.ah_attr.is_global = 1;
        wanted.ah_attr.port_num = port.number;
        wanted.ah_attr.grh.sgid_index = port.gid_index;
        wanted.ah_attr.grh.hop_limit = HOPS;
        wanted.ah_attr.grh.dgid = ffi::ibv_gid { raw: peer.gid };
        self.modify(
            wanted,
            ffi::ibv_qp_attr_mask::IBV_QP_STATE
                | ffi::ibv_qp_attr_mask::IBV_QP_AV
                | ffi::ibv_qp_attr_mask::IBV_QP_PATH_MTU
                | ffi::ibv_qp_attr_mask::IBV_QP_DEST_QPN
                | ffi::ibv_qp_attr_mask::IBV_QP_RQ_PSN
                | ffi::ibv_qp_attr_mask::IBV_QP_MAX_DEST_RD_ATOMIC
                | ffi::ibv_qp_attr_mask::IBV_QP_MIN_RNR_TIMER,
        )
    }

    /// Joins it to its peer, to which requests can be sent from now on.
    pub(super) fn join(&mut self, peer: &Peer, timing: Timing) -> io::Result<()> {
        self.accept(peer)?;
        let mut wanted = no_attributes();
        wanted.qp_state = ffi::ibv_qp_state::IBV_QPS_RTS;
        wanted.timeout = timing.timeout;
        wanted.retry_cnt = timing.retries;
        wanted.rnr_retry = NOT_READY_RETRIES;
        wanted.sq_psn = self.packet_sequence;
        wanted.max_rd_atomic = self.domain.device().attributes().reads_asked.min(peer.reads);
        self.modify(
            wanted,
            ffi::ibv_qp_attr_mask::IBV_QP_STATE
                | ffi::ibv_qp_attr_mask::IBV_QP_TIMEOUT
                | ffi::ibv_qp_attr_mask::IBV_QP_RETRY_CNT
                | ffi::ibv_qp_attr_mask::IBV_QP_RNR_RETRY
                | ffi::ibv_qp_attr_mask::IBV_QP_SQ_PSN
                | ffi::ibv_qp_attr_mask::IBV_QP_MAX_QP_RD_ATOMIC,
        )
    }

    /// Moves it to the error state: nothing is sent or answered any more.
    pub(super) fn fail(&mut self) -> io::Result<()> {
        let mut wanted = no_attributes();
        wanted.qp_state = ffi::ibv_qp_state::IBV_QPS_ERR;
        self.modify(wanted, ffi::ibv_qp_attr_mask::IBV_QP_STATE)
    }

    fn modify(&mut self, mut wanted: ffi::ibv_qp_attr, which: ffi::ibv_qp_attr_mask) -> io::Result<()> {
        // SAFETY: the pair is alive; `wanted` is initialised and only read.
        check(unsafe { ffi::ibv_modify_qp(self.pair.as_ptr(), &raw mut wanted, which.0.cast_signed()) })
    }

    /// Posts requests, to be executed in order. The last one, or the first that fails, completes under the number
    /// `request`; the others complete silently. On an error some may have been sent.
    ///
    /// The caller has waited for the completion of what it posted before.
    pub(super) fn post<'a>(&mut self, work: impl Iterator<Item = Work<'a>>, request: u64) -> io::Result<()> {
        let Role::Asks(arena) = &self.role else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this queue pair only answers"));
        };
        let pair = self.pair.as_ptr();
        self.sends.fill(work, request, arena, self.inline)?;
        self.sends.with_list(|first| {
            let mut refused = std::ptr::null_mut();
            // SAFETY: the pair is alive; `first` starts a list of valid requests. Inline bytes are borrowed by `work`
            // for `'a`, which outlives this call, and it copies them; all other local bytes lie in the arena, shared
            // memory that stays registered until the pair is destroyed, or replaced when no request is under way.
            check(unsafe { ffi::ibv_post_send(pair, first, &raw mut refused) })
        })
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: the pair is destroyed once, before what it uses.
        if let Err(error) = check(unsafe { ffi::ibv_destroy_qp(self.pair.as_ptr()) }) {
            tracing::error!("a queue pair could not be destroyed, what it uses is leaked: {error}");
            std::mem::forget((Arc::clone(&self.completions), Arc::clone(&self.domain)));
            std::mem::forget(std::mem::replace(&mut self.role, Role::Answers));
        }
    }
}

/// No attribute set.
fn no_attributes() -> ffi::ibv_qp_attr {
    // SAFETY: integers, and a union of them, for which all zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A packet sequence number that packets of an earlier connection will hardly fit.
fn random_sequence() -> io::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(bytes) & NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(queue_pair: u32, packet_sequence: u32, path_mtu: u16, outstanding_reads: u8) -> Endpoint {
        Endpoint::Verbs { gid: [1; 16], queue_pair, packet_sequence, path_mtu, outstanding_reads }
    }

    #[test]
    fn endpoints_that_cannot_be_are_refused() {
        assert!(Peer::new(&endpoint(NUMBER, NUMBER, 4096, 1)).is_some());
        for wrong in [
            endpoint(NUMBER + 1, 0, 1024, 16),
            endpoint(1, NUMBER + 1, 1024, 16),
            endpoint(1, 1, 1500, 16),
            endpoint(1, 1, 1024, 0),
            Endpoint::Verbs {
                gid: [0; 16],
                queue_pair: 1,
                packet_sequence: 1,
                path_mtu: 1024,
                outstanding_reads: 1,
            },
            Endpoint::Emulated { address: None, token: [1; 16] },
        ] {
            assert!(Peer::new(&wrong).is_none(), "{wrong:?}");
        }
    }
}
