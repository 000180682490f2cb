//! From HTTP to requests and back.

use super::answers::Sources;
use super::events::follow;
use super::metrics::classic;
use super::remote::Role;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Extension, Router, body::Bytes};
use backdoors_monitor_api::openapi;
use backdoors_monitor_api::operations::{MOST_BODY_BYTES, Method, OPERATIONS, Operation};
use backdoors_monitor_api::{ErrorKind, Event, Failure, Query};
use futures_core::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};

/// Requests worked on at once.
const MOST_REQUESTS: usize = 32;
/// Askers at once that are told what comes.
const MOST_FOLLOWERS: usize = 32;
/// Entries on their way to one of them. The journal itself keeps more for whoever is slow.
const ENTRIES_AHEAD: usize = 64;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// For the journal.
    pub name: Arc<str>,
    pub role: Role,
}

impl Asker {
    /// Whether it may ask for this.
    fn check(&self, operation: &Operation) -> Result<(), Failure> {
        match (operation.method, self.role) {
            (Method::Get, _) | (Method::Post, Role::Act) => Ok(()),
            (Method::Post, Role::Look) => Err(Failure {
                kind: ErrorKind::NotAllowed,
                message: format!(
                    "{} may only look: ask somebody who may act, or have `may = \"act\"` set at the monitor's `[[api.client]]`",
                    self.name
                ),
            }),
        }
    }
}

/// What all routes share.
pub(super) struct Shared {
    sources: Sources,
    requests: Arc<Semaphore>,
    followers: Arc<Semaphore>,
}

/// Threads that routes may keep busy.
pub(super) const MOST_THREADS: usize = MOST_REQUESTS + MOST_FOLLOWERS;

/// Everything that the API has.
pub(super) fn routes(sources: Sources) -> Router {
    let shared = Arc::new(Shared {
        sources,
        requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
        followers: Arc::new(Semaphore::new(MOST_FOLLOWERS)),
    });
    let mut router = Router::new();
    for operation in &OPERATIONS {
        let method = match operation.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        let handler = move |State(shared): State<Arc<Shared>>,
                            Extension(asker): Extension<Asker>,
                            path: Path<Vec<(String, String)>>,
                            parameters: Parameters<Vec<(String, String)>>,
                            body: Result<Bytes, BytesRejection>| async move {
            let query = asker.check(operation).and_then(|()| query(operation, path.0, parameters.0, body));
            match query {
                Ok(Query::Follow { target, lines, audit }) => {
                    following(shared, target.as_deref(), lines, audit).unwrap_or_else(refusal)
                }
                Ok(query) => answer(shared, query, asker).await.unwrap_or_else(refusal),
                Err(failure) => refusal(failure),
            }
        };
        router = router.route(operation.path, on(method, handler));
    }
    let document = Bytes::from(openapi::document().to_string());
    let document = move || std::future::ready(([(header::CONTENT_TYPE, JSON)], document.clone()));
    router
        .route("/openapi.json", get(document))
        .route("/metrics", get(metrics))
        .fallback(|| async {
            refusal(Failure::bad_request("there is no such path; /openapi.json lists them".to_owned()))
        })
        .method_not_allowed_fallback(|| async {
            refusal(Failure::bad_request(
                "this path has another method; /openapi.json tells which".to_owned(),
            ))
        })
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_open =
        accepted.flat_map(|value| value.split(',')).any(|kind| kind.contains("application/openmetrics-text"));
    let media = if is_open { openapi::METRICS_TYPE } else { CLASSIC };
    let told = in_turn(shared, move |sources| {
        let text = sources.metrics()?;
        Ok(if is_open { text } else { classic(&text) })
    });
    match told.await {
        Ok(text) => ([(header::CONTENT_TYPE, media)], text).into_response(),
        Err(failure) => refusal(failure),
    }
}

/// The text format before OpenMetrics.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

fn query(
    operation: &Operation,
    path: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Query, Failure> {
    let body =
        body.map_err(|_| Failure::bad_request(format!("a request has at most {MOST_BODY_BYTES} bytes")))?;
    let body = match (operation.method, body.as_ref()) {
        (_, []) => serde_json::Map::new(),
        (Method::Get, _) => return Err(Failure::bad_request("a GET has no body".to_owned())),
        (Method::Post, body) => serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("not a JSON object: {error}")))?,
    };
    operation.query(path.into_iter().chain(parameters), body)
}

async fn answer(shared: Arc<Shared>, query: Query, asker: Asker) -> Result<Response, Failure> {
    let document = in_turn(shared, move |sources| sources.answer(query, &asker.name)).await?;
    Ok(([(header::CONTENT_TYPE, JSON)], document).into_response())
}

/// Has a thread do what takes time, if there is one.
async fn in_turn<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Sources) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let permit = Arc::clone(&shared.requests).try_acquire_owned().map_err(|_| busy())?;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work(&shared.sources)
    });
    done.await.map_err(|error| Failure::internal(format!("the answer was lost: {error}")))?
}

fn following(
    shared: Arc<Shared>,
    target: Option<&str>,
    lines: usize,
    audit: bool,
) -> Result<Response, Failure> {
    let wish = shared.sources.wish(target, audit)?;
    let permit = Arc::clone(&shared.followers).try_acquire_owned().map_err(|_| busy())?;
    let (sender, receiver) = channel(ENTRIES_AHEAD);
    let told = move || {
        let _permit = permit;
        let is_over = || sender.is_closed();
        let tell = |line: &str| {
            let event = serde_json::to_string(&Event::of_line(line)).unwrap_or_default();
            sender.blocking_send(event).is_ok()
        };
        if let Err(error) = follow(&shared.sources.journal, &wish, lines, is_over, tell) {
            tracing::warn!(%error, "the journal cannot be read");
        }
    };
    tokio::task::spawn_blocking(told);
    Ok(Sse::new(Entries(receiver)).keep_alive(KeepAlive::default()).into_response())
}

/// Entries as server-sent events.
struct Entries(Receiver<String>);

impl Stream for Entries {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| Some(Ok(sse::Event::default().data(event?))))
    }
}

/// There is too much to do.
pub(super) fn busy() -> Failure {
    Failure {
        kind: ErrorKind::Busy,
        message: "the monitor already serves as many askers as it may; try again later".to_owned(),
    }
}

/// Says no.
pub(super) fn refusal(failure: Failure) -> Response {
    let status =
        StatusCode::from_u16(openapi::status(failure.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Strings and a name always can be written.
    let body = serde_json::to_vec(&failure).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}
