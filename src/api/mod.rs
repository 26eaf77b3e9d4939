//! HTTP, and nothing but HTTP: requests in, answers out.
//!
//! Metadata requests arrive whole at [`respond`]; the hot routes (`PUT` and `GET .../file`,
//! `PUT .../stage`) never come here, `server` hands their connection to the data plane.

mod accept;
mod actions;
pub mod admin;
mod answer;
mod check;
mod cors;
mod data;
mod elsewhere;
mod fault;
mod filter;
mod gate;
mod health;
mod identify;
mod images;
mod imports;
mod isotime;
mod list;
mod locations;
mod may;
mod members;
mod outgoing;
mod paging;
mod patch;
mod peer;
mod python;
mod ranges;
#[cfg(test)]
mod replay;
mod request_id;
mod router;
mod schema;
pub mod server;
mod stores;
mod tags;
mod tasks;
mod update;
mod versions;
mod view;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::auth::{Enforcer, Identity, Keystone, PropertyRules};
use crate::buffer::Arena;
use crate::client::{Client, WebGuard};
use crate::config::Settings;
use crate::import::Imports;
use crate::meta::Repo;
use crate::observe::{Metrics, metrics};
use crate::store::Registry;
use crate::upload::Uploads;

pub use fault::Fault;
pub use request_id::RequestId;
pub use router::{Route, Unrouted, is_hot, route};
pub use schema::Document;

/// What every request needs.
#[derive(Debug)]
pub struct App {
    /// Checked configuration.
    pub settings: Arc<Settings>,
    /// Image records.
    pub repo: Arc<dyn Repo>,
    /// Who may.
    pub enforcer: Arc<Enforcer>,
    /// Who may with single properties.
    pub property_rules: Arc<PropertyRules>,
    /// Stores that clients may name.
    pub stores: Arc<Registry>,
    /// The data plane.
    pub uploads: Arc<Uploads>,
    /// Tasks.
    pub imports: Imports,
    /// Connections to other servers like this one.
    pub peers: Client,
    /// Who knows callers by their tokens, where that is Keystone.
    pub keystone: Option<Keystone>,
    /// Judge of the web addresses that clients name.
    pub web_guard: WebGuard,
    /// Slots of downloads.
    pub reads: Arena,
    /// Numbers for the operator.
    pub metrics: Metrics,
}

/// Answers a request whose body has been read.
///
/// Not cancel-safe: a delete that is dropped midway leaves data for the sweep at the next start.
pub async fn respond(app: &App, request: Request<Bytes>) -> Response<Bytes> {
    let (head, body) = request.into_parts();
    let mut response = answer_route(app, &head, &body).await;
    cors::tell(&app.settings.api.cors, &head, &mut response);
    if head.method == Method::HEAD {
        *response.body_mut() = Bytes::new();
    }
    response
}

/// Routes, serves and stamps. Every answer below a version, faults too, carries the request id
/// (`PR-09`); what Glance answers before it asks who calls does not.
async fn answer_route(app: &App, head: &Parts, body: &Bytes) -> Response<Bytes> {
    let routed = versions::route(app, head, head.uri.path());
    let is_open = routed.as_ref().is_ok_and(Route::is_open);
    let class = routed.as_ref().map_or(metrics::Route::Other, Route::class);
    let id = RequestId::of(&head.headers, app.settings.api.max_request_id_length);
    let served = match &id {
        Err(fault) if !is_open => Err(fault.clone()),
        Ok(id) => serve(app, head, body, routed, id).await,
        Err(_) => serve(app, head, body, routed, &RequestId::random()).await,
    };
    let mut response = served.unwrap_or_else(|fault| fault.into_response(&head.headers));
    app.metrics.request(class, response.status());
    if !is_open {
        id.unwrap_or_else(|_| RequestId::random()).stamp(&mut response);
    }
    response
}

async fn serve(
    app: &App,
    head: &Parts,
    body: &Bytes,
    routed: Result<Route, Unrouted>,
    request_id: &RequestId,
) -> Result<Response<Bytes>, Fault> {
    let Some(route) = routed.as_ref().ok().filter(|route| route.is_open()) else {
        let caller = identify::identify(app, head).await?;
        let route = routed.map_err(|unrouted| unrouted.into_fault(&head.method))?;
        return serve_caller(app, &caller, head, body, route, request_id).await;
    };
    match route {
        Route::VersionChoices => Ok(versions::document(app, head, StatusCode::MULTIPLE_CHOICES)),
        Route::Versions => Ok(versions::document(app, head, StatusCode::OK)),
        Route::Health => health::check(app, head).await,
        _ => Ok(answer::empty(StatusCode::OK)),
    }
}

/// Serves what is for callers who are known.
async fn serve_caller(
    app: &App,
    caller: &Identity,
    head: &Parts,
    body: &Bytes,
    route: Route,
    request_id: &RequestId,
) -> Result<Response<Bytes>, Fault> {
    if route.changes() {
        may::write(caller)?;
    }
    if route.refuses_body() && !body.is_empty() {
        return Err(Fault::unexpected_body());
    }
    match route {
        Route::V2Root => Ok(answer::to_v2(app, head)),
        Route::CreateImage => images::create(app, caller, head, body).await,
        Route::ListImages => list::list(app, caller, head).await,
        Route::ShowImage(id) => images::show(app, caller, &id).await,
        Route::UpdateImage(id) => update::update(app, caller, head, &id, body).await,
        Route::DeleteImage(id) => images::delete(app, caller, &id).await,
        Route::ImportImage(id) => imports::import(app, caller, head, &id, body, request_id).await,
        Route::ImageTasks(id) => tasks::of_image(app, caller, &id).await,
        Route::Deactivate(id) => actions::deactivate(app, caller, &id).await,
        Route::Reactivate(id) => actions::reactivate(app, caller, &id).await,
        Route::AddLocation(id) => locations::post(app, caller, &id, body, request_id).await,
        Route::ListLocations(id) => locations::list(app, caller, &id).await,
        Route::PutTag(id, tag) => tags::put(app, caller, &id, &tag).await,
        Route::DeleteTag(id, tag) => tags::delete(app, caller, &id, &tag).await,
        Route::ListMembers(id) => members::list(app, caller, &id).await,
        Route::AddMember(id) => members::add(app, caller, &id, body).await,
        Route::ShowMember(id, member) => members::show(app, caller, &id, &member).await,
        Route::UpdateMember(id, member) => members::update(app, caller, &id, &member, body).await,
        Route::RemoveMember(id, member) => members::remove(app, caller, &id, &member).await,
        Route::DeleteFromStore(store, id) => {
            locations::delete_from_store(app, caller, &store, &id).await
        }
        Route::InfoImport => Ok(stores::import_methods(app)),
        Route::InfoStores => stores::list(app),
        Route::InfoStoresDetail => stores::detail(app, caller),
        Route::InfoUsage => stores::usage(app, caller).await,
        Route::ListTasks => tasks::list(app, caller, head).await,
        Route::CreateTask => Err(tasks::create(app, caller, body)),
        Route::ShowTask(id) => tasks::show(app, caller, &id).await,
        Route::DeleteTask(_) => Err(tasks::delete(app, caller)),
        Route::Schema(which) => Ok(schema::show(app, which)),
        Route::PutImageData(_) | Route::GetImageData(_) | Route::StageImageData(_) => {
            tracing::error!(uri = %head.uri, "a data route came to the metadata side");
            Err(Fault::internal())
        }
        Route::VersionChoices | Route::Versions | Route::Health | Route::Options => {
            tracing::error!(uri = %head.uri, "an open route asked who calls");
            Err(Fault::internal())
        }
    }
}
