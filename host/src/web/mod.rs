//! What is seen from outside in a browser: the studio, `/healthz`, `/readyz` and `/metrics`.
//!
//! `access` is the door, `serve` the connections, `studio` the pages. Bind it where only those who watch can reach it.

mod access;
mod assets;
mod serve;
pub mod studio;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::access::Access;
use self::studio::{Events, Studio};
use crate::config::WebConfig;
use crate::facts::live::{Asked, Live};
use crate::intake::velociraptor;
use crate::outbox::{Census, Outbox};
use crate::plugin::loaded::PluginCensus;
use crate::reload::News;
use crate::snapshot::Current;

/// A bound, not yet serving, web server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: WebConfig,
}

/// What is shown.
pub struct Site {
    /// Configuration in force.
    pub current: Current,
    /// The file that it was read from, if there is one.
    pub file: Option<PathBuf>,
    /// What is known of its files.
    pub news: watch::Receiver<News>,
    /// Events that can be looked at, in the order of a list; pasted ones come after them.
    pub events: Vec<Arc<dyn Events>>,
    /// Without one, there are no `/readyz` and `/metrics`.
    pub daemon: Option<Daemon>,
}

/// What a daemon has beside its configuration.
pub struct Daemon {
    /// Where events and mails are.
    pub outbox: Outbox,
    /// How watching a server goes.
    pub watched: velociraptor::State,
    /// The server that is asked for facts, if there is one.
    pub live: Option<Live>,
}

#[derive(Clone)]
struct Seen {
    outbox: Outbox,
    current: Current,
    watched: velociraptor::State,
    live: Option<Live>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// When it is taken or not ours.
    pub async fn bind(config: &WebConfig) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(config.listen).await?, config: config.clone() })
    }

    /// The address, with the port that was given for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, site: Site, stop: watch::Receiver<bool>) -> std::io::Result<()> {
        let access = Arc::new(Access::new(&self.config, self.local_addr()?));
        let Site { current, file, news, events, daemon } = site;
        let seen = daemon.map(|Daemon { outbox, watched, live }| Seen {
            outbox,
            current: Arc::clone(&current),
            watched,
            live,
        });
        let studio = Arc::new(Studio::new(current, file, news, events, Arc::clone(&access), stop.clone()));

        let mut open = Router::new().route("/healthz", get(|| async { "ok\n" }));
        let mut guarded = studio::router().with_state(studio).merge(assets::router());
        if let Some(seen) = seen {
            // Whether a service is ready is asked under any name and is no secret; its numbers are for those who may read.
            open = open.route("/readyz", get(ready).with_state(seen.clone()));
            guarded = guarded.route("/metrics", get(metrics).with_state(seen));
        }
        let open = open.layer(middleware::map_response(async |mut response: Response| {
            access::protect(&mut response);
            response
        }));
        let guarded = guarded.layer(middleware::from_fn_with_state(access, access::guard));
        serve::serve(self.listener, guarded.merge(open), stop).await;
        Ok(())
    }
}

/// Ready: the outbox answers, there is room for more, and every org that is to be watched is.
async fn ready(State(seen): State<Seen>) -> Response {
    let result = match seen.outbox.check_space() {
        Ok(()) => seen.outbox.census().await.map(|_| ()),
        Err(error) => Err(error),
    };
    let troubles = seen.watched.troubles();
    match result {
        Ok(()) if troubles.is_empty() => "ready\n".into_response(),
        Ok(()) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", troubles.join("\n"))).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn metrics(State(seen): State<Seen>) -> Response {
    match seen.outbox.census().await {
        Ok(census) => {
            let snapshot = seen.current.load();
            let mut text = exposition(&census, snapshot.generation);
            text.push_str(&of_plugins(&snapshot.plugins.census()));
            text.push_str(&seen.watched.exposition());
            text.push_str(&of_queries(&seen.live.as_ref().map(Live::census).unwrap_or_default()));
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Prometheus' text format. Everything but the generation is counted in the outbox itself, so the numbers are those that
/// `bewit outbox verify` adds up.
fn exposition(census: &Census, generation: u64) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (label, value) in samples {
            let _ = writeln!(text, "{name}{label} {value}");
        }
    };
    family("bewit_events_total", "counter", "Events accepted.", &[("", census.events)]);
    family(
        "bewit_events_repeated_total",
        "counter",
        "Events heard again.",
        &[("{body=\"same\"}", census.duplicates), ("{body=\"other\"}", census.conflicts)],
    );
    family("bewit_lines_rejected_total", "counter", "Lines that were no events.", &[("", census.rejected)]);
    family("bewit_mails_total", "counter", "Mails stored.", &[("", census.mails)]);
    family("bewit_gathered", "gauge", "Events that wait for a digest.", &[("", census.gathered)]);
    family(
        "bewit_judgements",
        "gauge",
        "Judgements that a plugin has put off, by state.",
        &[("{state=\"postponed\"}", census.postponed), ("{state=\"failed\"}", census.unjudged)],
    );
    family(
        "bewit_recipients",
        "gauge",
        "Recipients kept in the outbox, by state.",
        &[
            ("{state=\"queued\"}", census.queued),
            ("{state=\"sending\"}", census.sending),
            ("{state=\"deferred\"}", census.deferred),
            ("{state=\"held\"}", census.held),
            ("{state=\"delivered\"}", census.delivered),
            ("{state=\"failed\"}", census.failed),
            ("{state=\"cancelled\"}", census.cancelled),
        ],
    );
    family("bewit_reload_generation", "gauge", "Configuration in force, counted from 1 at start.", &[("", generation)]);
    text
}

/// Plugins, each since it was loaded.
fn of_plugins(plugins: &[PluginCensus]) -> String {
    let mut text = String::new();
    if plugins.is_empty() {
        return text;
    }
    let mut family = |name: &str, kind: &str, help: &str, samples: &dyn Fn(&PluginCensus) -> Vec<(String, f64)>| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for plugin in plugins {
            for (labels, value) in samples(plugin) {
                let _ = writeln!(text, "{name}{{plugin=\"{}\"{labels}}} {value}", plugin.name);
            }
        }
    };
    #[allow(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
    let number = |number: u64| number as f64;
    family("bewit_plugin_calls_total", "counter", "Calls of a plugin, by outcome.", &|plugin| {
        let outcomes = [("answered", plugin.answers), ("refused", plugin.refusals), ("failed", plugin.failures)];
        outcomes.map(|(outcome, count)| (format!(",outcome=\"{outcome}\""), number(count))).into()
    });
    family("bewit_plugin_seconds_total", "counter", "Time of all calls of a plugin.", &|plugin| {
        vec![(String::new(), plugin.time.as_secs_f64())]
    });
    family("bewit_plugin_instances", "gauge", "Instances of a plugin that wait for a call.", &|plugin| {
        vec![(String::new(), number(plugin.kept))]
    });
    family("bewit_plugin_benched", "gauge", "1 while a plugin is not asked because it kept failing.", &|plugin| {
        vec![(String::new(), number(plugin.benched.into()))]
    });
    text
}

/// What a server was asked for facts, by kind of query, since the start.
fn of_queries(queries: &BTreeMap<&'static str, Asked>) -> String {
    let mut text = String::new();
    if queries.is_empty() {
        return text;
    }
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Asked) -> String| {
        let _ = write!(text, "# HELP bewit_velociraptor_{name} {help}\n# TYPE bewit_velociraptor_{name} counter\n");
        for (query, asked) in queries {
            let _ = writeln!(text, "bewit_velociraptor_{name}{{query=\"{query}\"}} {}", value(asked));
        }
    };
    family("queries_total", "Queries for facts.", &|asked| asked.queries.to_string());
    family("query_failures_total", "Queries for facts that failed.", &|asked| asked.failed.to_string());
    family("query_seconds_total", "Time of all queries for facts.", &|asked| asked.time.as_secs_f64().to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_told_apart() {
        let plugin = PluginCensus {
            name: "ioc".into(),
            answers: 3,
            failures: 5,
            refusals: 1,
            time: std::time::Duration::from_millis(1500),
            kept: 2,
            benched: true,
        };
        insta::assert_snapshot!(of_plugins(&[plugin]), @r#"
        # HELP bewit_plugin_calls_total Calls of a plugin, by outcome.
        # TYPE bewit_plugin_calls_total counter
        bewit_plugin_calls_total{plugin="ioc",outcome="answered"} 3
        bewit_plugin_calls_total{plugin="ioc",outcome="refused"} 1
        bewit_plugin_calls_total{plugin="ioc",outcome="failed"} 5
        # HELP bewit_plugin_seconds_total Time of all calls of a plugin.
        # TYPE bewit_plugin_seconds_total counter
        bewit_plugin_seconds_total{plugin="ioc"} 1.5
        # HELP bewit_plugin_instances Instances of a plugin that wait for a call.
        # TYPE bewit_plugin_instances gauge
        bewit_plugin_instances{plugin="ioc"} 2
        # HELP bewit_plugin_benched 1 while a plugin is not asked because it kept failing.
        # TYPE bewit_plugin_benched gauge
        bewit_plugin_benched{plugin="ioc"} 1
        "#);
        assert_eq!(of_plugins(&[]), "");
    }

    #[test]
    fn every_sample_has_help_and_type() {
        let text = exposition(&Census { events: 3, queued: 2, ..Census::default() }, 7);
        assert!(text.contains("bewit_events_total 3\n"));
        assert!(text.contains("bewit_recipients{state=\"queued\"} 2\n"));
        assert!(text.contains("bewit_reload_generation 7\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }

    #[test]
    fn queries_are_told_apart() {
        let asked = Asked { queries: 3, failed: 1, time: std::time::Duration::from_millis(1500) };
        insta::assert_snapshot!(of_queries(&BTreeMap::from([("flow", asked)])), @r#"
        # HELP bewit_velociraptor_queries_total Queries for facts.
        # TYPE bewit_velociraptor_queries_total counter
        bewit_velociraptor_queries_total{query="flow"} 3
        # HELP bewit_velociraptor_query_failures_total Queries for facts that failed.
        # TYPE bewit_velociraptor_query_failures_total counter
        bewit_velociraptor_query_failures_total{query="flow"} 1
        # HELP bewit_velociraptor_query_seconds_total Time of all queries for facts.
        # TYPE bewit_velociraptor_query_seconds_total counter
        bewit_velociraptor_query_seconds_total{query="flow"} 1.5
        "#);
        assert_eq!(of_queries(&BTreeMap::new()), "");
    }
}
