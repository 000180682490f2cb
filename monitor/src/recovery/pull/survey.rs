//! Which sessions are kept in boxes, and how far these are behind, without what is in them: little enough to be read every few seconds.

use super::reading::{Heads, fetch_in_order, pieces};
use super::{Boxes, PullError, service, settle};
use crate::link::Link;
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::session::{SessionsView, session_table_room};
use std::collections::HashMap;
use std::time::Duration;

/// The sessions of a service, as they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its name.
    pub service: String,
    /// Its sessions.
    pub sessions: Vec<SurveyedSession>,
}

/// A session and its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyedSession {
    /// The socket's cookie.
    pub cookie: u64,
    /// Number of the newest snapshot, if there is one.
    pub snapshot: Option<u64>,
    /// Whether the application read or wrote since.
    pub is_behind: bool,
}

/// How the sessions of a service are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxCounts {
    /// The service.
    pub service: String,
    /// Its sessions.
    pub sessions: u64,
    /// Those with a snapshot.
    pub kept: u64,
    /// Those that went on since their snapshot.
    pub behind: u64,
    /// For how long the one has been behind that has been so longest; zero if none is.
    pub longest_behind: Duration,
}

/// Reads them, of all services that the target keeps boxes for.
///
/// # Errors
/// See [`PullError`].
pub fn survey(link: &mut dyn Link) -> Result<Vec<Surveyed>, PullError> {
    let region = link.region(RegionKind::SESSIONS).ok_or(PullError::NotCaptured)?;
    let mut services = Vec::new();
    for number in 0..RegionKind::BOXES {
        if let Some(service) = service(link, number)? {
            let boxes = service.boxes()?;
            services.push((number, service.name, boxes));
        }
    }
    let mut heads: Vec<Heads> = services.iter().map(|(_, _, boxes)| Heads::of(Some(boxes))).collect();
    let [mut first, mut second] = [(); 2].map(|()| vec![0; session_table_room(region.range.length)]);
    let mut wanted = Vec::new();
    for ((_, _, boxes), heads) in services.iter().zip(&mut heads) {
        wanted.extend(heads.wanted_of(boxes)?);
    }
    let [once, twice] = [&mut first, &mut second].map(|bytes| pieces(&region, [(0, &mut bytes[..])]));
    fetch_in_order(link, [once?, twice?, wanted])?;
    let mut table = SessionsView::decode_twice(&first, &second).map_err(PullError::Table)?;
    settle(link, &region, &mut table)?;
    let of = |((number, service, _), heads): ((u32, String, Boxes), Heads)| {
        let by_cookie: HashMap<u64, BoxHead> =
            heads.read().into_iter().map(|head| (head.cookie, head)).collect();
        let own = table.sessions.iter().filter(|session| session.record.service == number);
        let sessions = own.map(|session| surveyed(session.cookie, by_cookie.get(&session.cookie)));
        Surveyed { service, sessions: sessions.collect() }
    };
    Ok(services.into_iter().zip(heads).map(of).collect())
}

fn surveyed(cookie: u64, head: Option<&BoxHead>) -> SurveyedSession {
    let snapshot = head.map(|head| head.newest).filter(|newest| *newest > 0);
    let is_behind = head.zip(snapshot).is_some_and(|(head, newest)| {
        let export = head.exports[(newest % 2) as usize];
        (export.read, export.written) != (head.read, head.written)
    });
    SurveyedSession { cookie, snapshot, is_behind }
}

/// Remembers since when sessions are behind. Pure.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    /// By cookie: the snapshot, and when it was first found to be behind.
    since: HashMap<u64, (u64, Duration)>,
}

impl Ages {
    /// Takes in what was found at `now`.
    pub fn take_in(&mut self, now: Duration, found: &[Surveyed]) -> Vec<BoxCounts> {
        let before = std::mem::take(&mut self.since);
        let mut counts = Vec::new();
        for Surveyed { service, sessions } in found {
            let mut longest_behind = Duration::ZERO;
            let behind = |session: &&SurveyedSession| session.is_behind;
            for SurveyedSession { cookie, snapshot, .. } in sessions.iter().filter(behind) {
                let snapshot = snapshot.unwrap_or(0);
                let known = before.get(cookie).filter(|(known, _)| *known == snapshot);
                let since = known.map_or(now, |(_, since)| *since);
                self.since.insert(*cookie, (snapshot, since));
                longest_behind = longest_behind.max(now.saturating_sub(since));
            }
            counts.push(BoxCounts {
                service: service.clone(),
                sessions: sessions.len() as u64,
                kept: sessions.iter().filter(|session| session.snapshot.is_some()).count() as u64,
                behind: sessions.iter().filter(behind).count() as u64,
                longest_behind,
            });
        }
        counts
    }
}
