//! Whom the facts are asked of: a server, or, in tests, what stands in for one.

use std::future::Future;
use std::pin::Pin;

use serde_json::value::RawValue;

use crate::velociraptor::client::{Answer, Ask, Client};
use crate::velociraptor::error::ApiError;

/// An answer that is waited for.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// Takes queries.
pub trait Asks: Send + Sync + 'static {
    /// Sends one.
    fn ask<'a>(&'a self, ask: Ask<'a>) -> Answering<'a, Box<dyn Answers>>;
}

/// Rows as they come.
pub trait Answers: Send {
    /// The next one; `None`: the query has ended, and ended well.
    fn next(&mut self) -> Answering<'_, Option<Box<RawValue>>>;
}

impl Asks for Client {
    fn ask<'a>(&'a self, ask: Ask<'a>) -> Answering<'a, Box<dyn Answers>> {
        Box::pin(async move { Ok(Box::new(Self::ask(self, ask).await?) as Box<dyn Answers>) })
    }
}

impl Answers for Answer {
    fn next(&mut self) -> Answering<'_, Option<Box<RawValue>>> {
        Box::pin(Self::next(self))
    }
}
