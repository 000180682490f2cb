//! The daemon's side: connections. Whatever comes over them, the samplers go on.

use super::answers::{Reload, Sources};
use super::remote::{Remote, Role};
use super::routes::{Asker, MOST_THREADS, busy, refusal, routes};
use super::views::TargetHandle;
use crate::journal::Journal;
use crate::peers::Opinions;
use axum::{Extension, Router};
use backdoors_rdma::supervisor::Pulse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::Mode;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

/// Connections at once.
const MOST_CONNECTIONS: usize = 64;
/// Connections at once beyond these, that are told so.
const MOST_TURNED_AWAY: usize = 16;
/// Longest wait for a request to arrive, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nobody is accepted after the system could not accept anybody, lest the thread spins.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Time between two beats of the thread that speaks with askers.
const BEAT: Duration = Duration::from_secs(1);

/// The daemon's API.
pub struct Server {
    listener: UnixListener,
    remote: Option<Remote>,
    reload: Option<Reload>,
    pulse: Pulse,
}

/// Why the API is not offered.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another monitor already listens on {0}: stop it, or give this one another `socket`")]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{0} exists and is no socket: remove it, or give another `socket`")]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {path}: {source}; make its folder for this user, or give another `socket`")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Server {
    /// Listens on `path`, for this user alone. A socket that a dead daemon left behind is replaced. Call it before
    /// other threads create files: the mask for new files is changed for a moment.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Server, ListenError> {
        Ok(Server { listener: bind(path)?, remote: None, reload: None, pulse: Pulse::default() })
    }

    /// Also answers askers of other machines.
    #[must_use]
    pub fn answering(mut self, remote: Option<Remote>) -> Server {
        self.remote = remote;
        self
    }

    /// Has the configuration read again by this when somebody asks for it.
    #[must_use]
    pub fn reloading(mut self, reload: Reload) -> Server {
        self.reload = Some(reload);
        self
    }

    /// Has this beat once a second while askers are served.
    #[must_use]
    pub fn beating(mut self, pulse: Pulse) -> Server {
        self.pulse = pulse;
        self
    }

    /// Serves for ever. One thread speaks with all askers; what takes time is done by others.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(
        self,
        targets: Vec<TargetHandle>,
        opinions: Opinions,
        journal: Journal,
    ) -> io::Result<std::convert::Infallible> {
        let Server { listener, remote, reload, pulse } = self;
        let routes = routes(Sources { targets, opinions, journal, reload });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("api")
            .max_blocking_threads(MOST_THREADS)
            .build()?;
        runtime.block_on(async {
            tokio::spawn(beat(pulse));
            let here = accept(listener, Hall::new(routes.clone()));
            match remote {
                // Each has room of its own: nobody elsewhere can lock those here out.
                Some(remote) => {
                    tokio::try_join!(here, remote.serve(Hall::new(routes).into())).map(|(end, _)| end)
                }
                None => here.await,
            }
        })
    }
}

async fn beat(pulse: Pulse) {
    loop {
        pulse.beat();
        tokio::time::sleep(BEAT).await;
    }
}

async fn accept(listener: UnixListener, hall: Hall) -> io::Result<std::convert::Infallible> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let hall = Arc::new(hall);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let hall = Arc::clone(&hall);
                tokio::spawn(async move {
                    let asker = asker(&stream);
                    hall.serve(stream, asker).await;
                });
            }
            // The asker hung up, or file descriptors are short for the moment.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Where askers are served, as many as there is room for.
pub(super) struct Hall {
    routes: Router,
    turned_away: Router,
    room: Semaphore,
    doorstep: Semaphore,
}

impl Hall {
    fn new(routes: Router) -> Hall {
        Hall {
            routes,
            turned_away: Router::new().fallback(|| async { refusal(busy()) }),
            room: Semaphore::new(MOST_CONNECTIONS),
            doorstep: Semaphore::new(MOST_TURNED_AWAY),
        }
    }

    /// Serves an asker until it hangs up.
    pub(super) async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static, asker: Asker) {
        let (_permit, routes, patience) = match (self.room.try_acquire(), self.doorstep.try_acquire()) {
            (Ok(permit), _) => (permit, &self.routes, PATIENCE),
            (Err(_), Ok(permit)) => (permit, &self.turned_away, PATIENCE / 10),
            (Err(_), Err(_)) => return,
        };
        let routes = routes.clone().layer(Extension(asker));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(routes));
        if let Err(error) = served.await {
            tracing::debug!("an asker was lost: {error}");
        }
    }
}

/// Who asks, as the kernel says.
fn asker(stream: &tokio::net::UnixStream) -> Asker {
    let name = match stream.peer_cred() {
        Ok(credentials) => format!("user {} of the monitor's machine", credentials.uid()).into(),
        Err(_) => "somebody of the monitor's machine".into(),
    };
    Asker { name, role: Role::Act }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

fn bind(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Failed { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // The socket must never be open to others, not even between its creation and a chmod.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener.map_err(failed)
}
