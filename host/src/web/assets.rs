//! What pages load: a style sheet, a script, an icon. All of it is in the program; nothing comes from elsewhere.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("/assets/studio.css", "text/css; charset=utf-8", include_str!("pages/studio.css")),
    ("/assets/studio.js", "text/javascript; charset=utf-8", include_str!("pages/studio.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("pages/icon.svg")),
];

/// The routes of the files. They hold nothing that nobody may see.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, content)| {
        // `no-cache`: asked for each time, so that a page never has the script of another version.
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        router.route(path, get(move || async move { (headers, content).into_response() }))
    })
}
