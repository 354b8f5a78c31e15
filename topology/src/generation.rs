//! One generation of a lane's stages: fresh from their factories, thrown away whole.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tidegate_actors::host::{self, Hosted, Lost, Worked};
use tidegate_actors::stage::Factory;
use tidegate_schemas::Record;

use crate::flight::Hop;

/// An answer of a stage, with the hop it belongs to.
pub(crate) struct Reply {
    pub(crate) hop: Hop,
    pub(crate) answer: Result<Worked, Lost>,
}

/// The hosted stages.
pub(crate) struct Generation {
    stages: Vec<Hosted>,
}

impl Generation {
    /// Makes and starts every stage. A factory that panics gives the index of its stage and the panic's text.
    pub(crate) fn begin(factories: &[Factory]) -> Result<Generation, (usize, String)> {
        let mut stages = Vec::with_capacity(factories.len());
        for (index, factory) in factories.iter().enumerate() {
            // A factory may touch files and models; its panic is a death like any other. Nothing of ours is
            // shared with it, so nothing can be left half-changed.
            let made = catch_unwind(AssertUnwindSafe(|| factory()));
            let stage = made.map_err(|panic| (index, host::panic_text(panic.as_ref())))?;
            stages.push(host::spawn(stage));
        }
        Ok(Generation { stages })
    }

    /// Sends a record into the hop's stage.
    pub(crate) fn send(&self, hop: Hop, record: Record) -> LocalBoxFuture<'static, Reply> {
        match self.stages.get(hop.stage) {
            Some(stage) => stage.work(record).map(move |answer| Reply { hop, answer }).boxed_local(),
            None => std::future::ready(Reply { hop, answer: Err(Lost) }).boxed_local(),
        }
    }

    /// Ends all stages with what they have in hand; gives the panic text of those that had died.
    pub(crate) async fn end(self) -> Vec<(usize, String)> {
        let mut panics = Vec::new();
        for (index, stage) in self.stages.into_iter().enumerate() {
            panics.extend(stage.end().await.map(|text| (index, text)));
        }
        panics
    }
}
