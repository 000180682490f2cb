//! What the library has to say of itself, for programs that do not listen to `tracing`.

use std::ffi::{CString, c_char, c_int};
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::{Mutex, Once, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Takes a level of syslog and a message.
pub(crate) type Log = unsafe extern "C" fn(c_int, *const c_char);

static LOG: Mutex<Option<Log>> = Mutex::new(None);
static BEGUN: Once = Once::new();

/// From here on `log` is called; without one it goes to standard error.
pub(crate) fn set(log: Option<Log>) {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = log;
}

/// Has what is said heard, unless the program hears it already.
pub(crate) fn begin() {
    // A program that is in part of Rust may have chosen another subscriber, which stands.
    BEGUN.call_once(|| drop(tracing::subscriber::set_global_default(Subscribed)));
}

struct Subscribed;

impl Subscriber for Subscribed {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("backdoors_continuation_box")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let text = format!("backdoors: {}{}", text.message, text.fields);
        let level = if *event.metadata().level() == Level::ERROR { libc::LOG_ERR } else { libc::LOG_WARNING };
        // Called without the lock: it may want to set another.
        let log = *LOG.lock().unwrap_or_else(PoisonError::into_inner);
        match (log, CString::new(text.replace('\0', " "))) {
            // SAFETY: the header asks for a function of this type that any thread may call as long as it is set.
            (Some(log), Ok(text)) => unsafe { log(level, text.as_ptr()) },
            // Nobody is left to hear that it failed.
            _ => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    // There are no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Strings take what is written to them.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}
