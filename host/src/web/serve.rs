//! What the web server bears.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::guests::{self, Bounds};

const BOUNDS: Bounds = Bounds {
    name: "web",
    connections: 128,
    of_one: 64,
    buffer: 32 * 1024,
    header: Duration::from_secs(15),
    write: Duration::from_secs(30),
    stop: Duration::from_secs(3),
};

/// Answers until `stop`; then what has begun is finished.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let Ok(()) = guests::serve(listener, BOUNDS, service, stop, std::future::pending::<Infallible>()).await;
}
