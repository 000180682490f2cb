//! What the peers said last, shared by those who ask them and those who judge.

use super::opinion::Opinion;
use super::peer::{Peer, Standing};
use std::sync::Arc;

/// The opinions of all peers. Clones share them.
#[derive(Clone, Debug)]
pub struct Opinions {
    /// Names of the targets, sorted.
    names: Arc<[String]>,
    peers: Arc<[Arc<Peer>]>,
}

impl Opinions {
    /// Nobody's, for a monitor without peers.
    #[must_use]
    pub fn nobodys() -> Opinions {
        Opinions { names: Arc::new([]), peers: Arc::new([]) }
    }

    /// Those of peers, given by name and address, about targets of these names.
    pub(super) fn new(targets: &[String], peers: impl Iterator<Item = (String, String)>) -> Opinions {
        let mut names = targets.to_vec();
        names.sort();
        names.dedup();
        let names: Arc<[String]> = names.into();
        let peers = peers.map(|(name, address)| Arc::new(Peer::new(name, address, &names))).collect();
        Opinions { names, peers }
    }

    /// What peers said last about `target`, one opinion for each peer that knows it. They may be old: see
    /// [`Opinion::at`]. A peer that knows no target of that name has no opinion.
    #[must_use]
    pub fn about(&self, target: &str) -> Vec<Opinion> {
        let Some(place) = self.place(target) else { return Vec::new() };
        self.peers.iter().filter_map(|peer| peer.opinion(place)).collect()
    }

    /// Has every peer asked about `target` at once, and those that cannot be reached called again soon. Returns at once;
    /// what comes of it, [`Opinions::about`] tells. Asking again before the question was sent changes nothing.
    pub fn ask(&self, target: &str) {
        let Some(place) = self.place(target) else { return };
        for peer in &*self.peers {
            peer.want(place);
        }
    }

    /// How it stands with each peer.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.peers.iter().map(|peer| peer.standing()).collect()
    }

    pub(super) fn peers(&self) -> &[Arc<Peer>] {
        &self.peers
    }

    fn place(&self, target: &str) -> Option<usize> {
        self.names.binary_search_by(|name| name.as_str().cmp(target)).ok()
    }
}
