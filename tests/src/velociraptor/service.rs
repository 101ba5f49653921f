//! The gRPC service.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::codegen::async_trait;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::answers::{self, Answer, Asked, Item, Kind};
use super::line::Line;
use super::proto::health_check_response::ServingStatus;
use super::proto::{
    Empty, HealthCheckRequest, HealthCheckResponse, PushEventRequest, VqlCollectorArgs, api_server::Api,
};
use super::server::Inner;
use super::stream::{Message, Run};
use super::world::ROOT;

/// What a script says to a query.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These, and the end with status OK.
    Items(Vec<Item>),
    /// A status.
    Status(tonic::Code, String),
}

pub(super) type Script = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

pub(super) struct Service(pub(super) Arc<Inner>);

#[async_trait]
impl Api for Service {
    type QueryStream = ReceiverStream<Message>;

    async fn query(&self, request: Request<VqlCollectorArgs>) -> Result<Response<Self::QueryStream>, Status> {
        let inner = &self.0;
        let line = request.extensions().get::<Line>().cloned();
        let args = request.into_inner();
        if args.query.is_empty() {
            return Err(Status::unknown("Query should be specified."));
        }
        let text = args.query.iter().map(|query| query.vql.as_str()).collect::<Vec<_>>().join("\n");
        let (text, kind) = inner.records.text(text);
        let asked = Asked {
            name: args.query.first().map(|query| query.name.clone()).unwrap_or_default(),
            text,
            env: args.env.into_iter().map(|env| (env.key, env.value)).collect(),
            org: if args.org_id.is_empty() { ROOT.to_owned() } else { args.org_id },
            kind,
        };
        let query = inner.records.begin(asked.clone(), args.max_row, args.max_wait);
        let refuse = |status: Status| {
            inner.records.end(query);
            Err(status)
        };
        let permissions = inner.world.state().orgs.get(&asked.org).map(|org| org.permissions.clone());
        match permissions {
            None => return refuse(Status::unknown(format!("Org not found: {}", asked.org))),
            Some(permissions) if !permissions.contains("ANY_QUERY") => {
                return refuse(Status::permission_denied("User is not allowed to run queries."));
            }
            Some(_) => {}
        }
        if kind == Kind::Uploads {
            for name in ["ClientId", "FlowId", "HuntId", "NotebookId"] {
                if asked.env.iter().any(|(key, _)| key == name) {
                    inner.records.complain(format!("uploads() takes {name} out of the scope: {}", asked.text));
                }
            }
        }
        let reply = inner.scripts.lock().unwrap().iter().find_map(|script| script(&asked));
        let answer = match reply {
            Some(Reply::Items(items)) => Ok(Answer::Items(Box::new(items.into_iter()))),
            Some(Reply::Status(code, text)) => return refuse(Status::new(code, text)),
            None => answers::answer(&inner.world, &asked),
        };
        let (sender, receiver) = mpsc::channel(1);
        let run = Run {
            records: Arc::clone(&inner.records),
            query,
            faults: inner.faults.draw(kind),
            asked,
            max_row: usize::try_from(args.max_row).unwrap_or(usize::MAX),
            // 0 is 10, as the server has it.
            max_wait: inner.second
                * u32::try_from(if args.max_wait == 0 { 10 } else { args.max_wait }).unwrap_or(u32::MAX),
            beat: *inner.beat.lock().unwrap(),
            line,
            sender,
        };
        tokio::spawn(run.answer(answer));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn push_events(&self, request: Request<PushEventRequest>) -> Result<Response<Empty>, Status> {
        let push = request.into_inner();
        let org = if push.org_id.is_empty() { ROOT } else { &push.org_id };
        let granted = self.0.world.state().orgs.get(org).map(|org| org.publish.contains(&push.artifact));
        match granted {
            None => return Err(Status::unknown(format!("Org not found: {org}"))),
            Some(false) => {
                let text = format!("User is not allowed to publish to the artifact {}: PUBLISH", push.artifact);
                return Err(Status::permission_denied(text));
            }
            Some(true) => {}
        }
        self.0.records.pushes.lock().unwrap().push(push);
        Ok(Response::new(Empty {}))
    }

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
}
