//! Fetching a region into a view, whatever carries the bytes: `fetch_sb` of the thesis.

use crate::decode::{AcknowledgementView, DecodeError, ProcessView, SensorView};
use crate::layout::{Acknowledgement, BoxHeader, ProcessTableHeader};
use core::mem::size_of;

/// How often a torn record is read again before it is reported torn. A writer holds a record odd for less than
/// a microsecond, so more readings only hide one that died in the middle.
const READINGS: usize = 4;

/// Why a fetch gave no view.
#[derive(Debug, thiserror::Error)]
pub enum FetchError<E> {
    /// The memory could not be read.
    #[error("{0}")]
    Access(E),
    /// It was read, and is no valid region.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Fetches the sensor box of one target, again and again: one read as long as the box does not grow.
#[derive(Debug, Default)]
pub struct SensorFetcher {
    bytes: Vec<u8>,
    view: SensorView,
}

impl SensorFetcher {
    /// Reads the box through `read`, which fills a buffer from an offset of a region of `region` bytes.
    ///
    /// # Errors
    /// [`FetchError::Access`] if `read` fails, [`FetchError::Decode`] if what it read is no box.
    pub fn fetch<E>(
        &mut self,
        region: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<&SensorView, FetchError<E>> {
        if self.bytes.len() < size_of::<BoxHeader>() {
            self.bytes.resize(size_of::<BoxHeader>(), 0);
        }
        let mut reading = 1;
        loop {
            read(0, &mut self.bytes).map_err(FetchError::Access)?;
            match SensorView::extent(&self.bytes) {
                Ok((_, need)) if need as u64 > region => {
                    let have = usize::try_from(region).unwrap_or(usize::MAX);
                    return Err(DecodeError::Truncated { what: "sensor box", have, need }.into());
                }
                // It shrinks when a box is laid out anew: then the next fetch is shorter.
                Ok((_, need)) if need <= self.bytes.len() => {
                    self.view.decode_into(&self.bytes)?;
                    self.bytes.truncate(need);
                    return Ok(&self.view);
                }
                Ok((_, need)) if reading < READINGS => self.bytes.resize(need, 0),
                Ok(_) => return Err(DecodeError::Torn { what: "sensor box" }.into()),
                Err(DecodeError::Torn { .. }) if reading < READINGS => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error.into());
                }
            }
            reading += 1;
        }
    }

    /// The view of the last successful fetch.
    #[must_use]
    pub fn view(&self) -> &SensorView {
        &self.view
    }
}

/// Fetches the process table: its header, then the entries in use, then those that were torn once more.
///
/// # Errors
/// As [`SensorFetcher::fetch`]. Entries that stay torn are listed in the view, not an error.
pub fn fetch_processes<E>(
    region: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<ProcessView, FetchError<E>> {
    let mut head = [0; size_of::<ProcessTableHeader>()];
    read(0, &mut head).map_err(FetchError::Access)?;
    let extent = ProcessView::extent(&head)?;
    let need = extent.header_bytes + extent.used * extent.entry_bytes;
    if need as u64 > region {
        let have = usize::try_from(region).unwrap_or(usize::MAX);
        return Err(DecodeError::Truncated { what: "process table", have, need }.into());
    }
    let mut entries = vec![0; need - extent.header_bytes];
    read(extent.header_bytes as u64, &mut entries).map_err(FetchError::Access)?;
    let mut view = ProcessView { generation: extent.generation, lost: extent.lost, ..ProcessView::default() };
    for (index, chunk) in entries.chunks_exact(extent.entry_bytes).enumerate() {
        view.take_entry(index, chunk);
    }
    for _ in 1..READINGS {
        for index in core::mem::take(&mut view.torn) {
            let at = index * extent.entry_bytes;
            let chunk = &mut entries[at..at + extent.entry_bytes];
            read((extent.header_bytes + at) as u64, chunk).map_err(FetchError::Access)?;
            view.take_entry(index, chunk);
        }
    }
    Ok(view)
}

/// Fetches the acknowledgement of one command slot from the acknowledgements of all.
///
/// # Errors
/// As [`SensorFetcher::fetch`]; [`DecodeError::Torn`] only after several readings.
pub fn fetch_acknowledgement<E>(
    slot: u32,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<AcknowledgementView, FetchError<E>> {
    let mut bytes = [0; size_of::<Acknowledgement>()];
    let offset = u64::from(slot) * size_of::<Acknowledgement>() as u64;
    let mut reading = 1;
    loop {
        read(offset, &mut bytes).map_err(FetchError::Access)?;
        match AcknowledgementView::decode(&bytes) {
            Err(DecodeError::Torn { .. }) if reading < READINGS => reading += 1,
            decoded => return Ok(decoded?),
        }
    }
}
