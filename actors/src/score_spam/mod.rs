//! x
pub mod classifier;
mod html; mod links; mod page; mod parsed;
