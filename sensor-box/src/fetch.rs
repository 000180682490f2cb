//! Fetching a region into a view, whatever carries the bytes: `fetch_sb` of the thesis.

use crate::decode::{AcknowledgementView, DecodeError, ProcessView, SensorView};
use crate::layout::{Acknowledgement, BoxHeader, ProcessTableHeader};
use crate::variables::{VARIABLES_BYTES, Variable};
use core::mem::size_of;

/// How often a torn record is read again before it is reported torn. A writer holds a record odd for less than
/// a microsecond, so more readings only hide one that died in the middle.
pub(crate) const READINGS: usize = 4;

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

/// What bytes of a sensor box gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A view.
    View,
    /// None yet: read again, [`SensorFetcher::wants`] bytes of it.
    Again,
}

/// Fetches the sensor box of one target, again and again: one read as long as the box does not grow.
#[derive(Debug, Default)]
pub struct SensorFetcher {
    bytes: Vec<u8>,
    need: usize,
    /// Readings in a row that gave no view.
    readings: usize,
    view: SensorView,
}

impl SensorFetcher {
    /// Bytes to read from the beginning of the box.
    #[must_use]
    pub fn wants(&self) -> usize {
        self.need.max(size_of::<BoxHeader>())
    }

    /// Takes in bytes read from the beginning of the box, which lies in a region of `region` bytes.
    ///
    /// # Errors
    /// If they are no box, or stay torn over several readings. The next reading starts from the head of the box.
    pub fn take(&mut self, region: u64, bytes: &[u8]) -> Result<Taken, DecodeError> {
        self.readings += 1;
        let taken = self.look(region, bytes);
        if !matches!(taken, Ok(Taken::Again)) {
            self.readings = 0;
        }
        if taken.is_err() {
            self.need = 0;
        }
        taken
    }

    fn look(&mut self, region: u64, bytes: &[u8]) -> Result<Taken, DecodeError> {
        match SensorView::extent(bytes) {
            Ok((_, need)) if need as u64 > region => {
                let have = usize::try_from(region).unwrap_or(usize::MAX);
                Err(DecodeError::Truncated { what: "sensor box", have, need })
            }
            Ok((_, need)) => {
                // It shrinks when a box is laid out anew: then the next fetch is shorter.
                self.need = need;
                if need <= bytes.len() {
                    self.view.decode_into(bytes)?;
                    Ok(Taken::View)
                } else if self.readings < READINGS {
                    Ok(Taken::Again)
                } else {
                    Err(DecodeError::Torn { what: "sensor box" })
                }
            }
            Err(DecodeError::Torn { .. }) if self.readings < READINGS => Ok(Taken::Again),
            Err(error) => Err(error),
        }
    }

    /// Reads the box through `read`, which fills a buffer from an offset of a region of `region` bytes.
    ///
    /// # Errors
    /// [`FetchError::Access`] if `read` fails, [`FetchError::Decode`] if what it read is no box.
    pub fn fetch<E>(
        &mut self,
        region: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<&SensorView, FetchError<E>> {
        let mut bytes = core::mem::take(&mut self.bytes);
        let fetched = loop {
            bytes.resize(self.wants(), 0);
            match read(0, &mut bytes) {
                Err(error) => break Err(FetchError::Access(error)),
                Ok(()) => match self.take(region, &bytes) {
                    Ok(Taken::Again) => {}
                    Ok(Taken::View) => break Ok(()),
                    Err(error) => break Err(error.into()),
                },
            }
        };
        self.bytes = bytes;
        fetched.map(|()| &self.view)
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
    until_whole(&mut bytes, |bytes| read(offset, bytes), AcknowledgementView::decode)
}

/// Reads again as long as what was read is torn, but not for ever.
fn until_whole<T, E>(
    bytes: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> Result<(), E>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<T, FetchError<E>> {
    let mut reading = 1;
    loop {
        read(bytes).map_err(FetchError::Access)?;
        match decode(bytes) {
            Err(DecodeError::Torn { .. }) if reading < READINGS => reading += 1,
            decoded => return Ok(decoded?),
        }
    }
}

/// Reads the variables that a target offers.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch_variables<E>(
    read: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<Vec<Variable>, FetchError<E>> {
    until_whole(&mut vec![0; VARIABLES_BYTES], read, Variable::decode)
}
