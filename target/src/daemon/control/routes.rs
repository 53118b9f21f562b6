//! The one table of what can be asked over the control socket. docs/control.md is held to it by a test.

use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Manager, Refusal};

/// What a question is answered with.
pub type Answer = Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send>>;

/// A question and what is done for it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Method: GET changes nothing.
    pub method: Method,
    /// Path.
    pub path: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Does it; the bytes are the body.
    pub run: fn(Arc<Manager>, &[u8]) -> Answer,
}

macro_rules! get {
    ($path:literal, $function:ident, $summary:literal) => {
        Route {
            method: Method::GET,
            path: $path,
            summary: $summary,
            run: |manager, _| Box::pin(async move { value(manager.$function().await) }),
        }
    };
}

macro_rules! post {
    ($path:literal, $function:ident, $summary:literal) => {
        Route {
            method: Method::POST,
            path: $path,
            summary: $summary,
            run: |manager, body| {
                let request = parse(body);
                Box::pin(async move { value(manager.$function(request?).await?) })
            },
        }
    };
}

/// Everything that can be asked.
pub static ROUTES: &[Route] = &[
    get!("/v1/status", status, "What is served now"),
    get!("/v1/sessions", sessions, "Who is logged in"),
    post!("/v1/sessions/logout", logout, "Ask initiators to log out, and drop the sessions that do not"),
    post!("/v1/targets", add_target, "Serve one more target"),
    post!("/v1/targets/redirect", redirect_target, "Send initiators that log in to a target elsewhere"),
    post!("/v1/targets/remove", remove_target, "Stop serving a target: its sessions are asked to log out"),
    post!("/v1/luns", add_lun, "Serve one more LUN"),
    post!("/v1/luns/remove", remove_lun, "Stop serving a LUN, and close its image"),
    post!("/v1/luns/grow", grow_lun, "Make a LUN larger"),
    post!(
        "/v1/luns/snapshot",
        snapshot_lun,
        "Keep the state of a LUN: its image becomes the parent of a new one"
    ),
    post!("/v1/luns/reset", reset_lun, "Throw away what a LUN holds beyond the parent of its image"),
    post!("/v1/luns/eject", eject_medium, "Eject the medium of a removable LUN"),
    post!("/v1/luns/insert", insert_medium, "Put a medium into a removable LUN"),
];

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::malformed(format!("the body: {error}")))
}

fn value(answer: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(answer).map_err(|error| Refusal::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_route_and_no_other() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/control.md")).unwrap();
        let told = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let told: Vec<String> = told
            .filter_map(|line| line.split_once('`').map(|(route, _)| route.to_owned()))
            .filter(|route| route.starts_with("GET /") || route.starts_with("POST /"))
            .collect();
        let own: Vec<String> =
            ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(told, own);
    }
}
