//! Why a request has no reply.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// Why a request has no reply: a kind to branch on, a context to read, a cause to report.
///
/// `Display` prints the context alone; the cause is [`Error::source`].
#[derive(Clone)]
pub struct Fault(Box<Details>);

/// Boxed, because every answer and every event has room for it and next to none has one.
#[derive(Clone)]
struct Details {
    kind: FaultKind,
    context: String,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What is known of a request that has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It certainly was not carried out.
    NotSent,
    /// The backend answered with an error.
    Refused,
    /// It may or may not have been carried out. Never to be treated as a no.
    Unknown,
}

impl Fault {
    /// A request that was certainly not carried out.
    #[must_use]
    pub fn not_sent(context: impl Into<String>) -> Self {
        Self::new(FaultKind::NotSent, context.into())
    }

    /// A request that the backend answered with an error.
    #[must_use]
    pub fn refused(context: impl Into<String>) -> Self {
        Self::new(FaultKind::Refused, context.into())
    }

    /// A request of which nobody knows whether it was carried out.
    #[must_use]
    pub fn unknown(context: impl Into<String>) -> Self {
        Self::new(FaultKind::Unknown, context.into())
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// Says where it happened, before what happened.
    #[must_use]
    pub fn with_context(mut self, place: &str) -> Self {
        self.0.context.insert_str(0, ": ");
        self.0.context.insert_str(0, place);
        self
    }

    /// What is known of the request.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.0.kind
    }

    fn new(kind: FaultKind, context: String) -> Self {
        Self(Box::new(Details { kind, context, cause: None }))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.0.kind)
            .field("context", &self.0.context)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}
