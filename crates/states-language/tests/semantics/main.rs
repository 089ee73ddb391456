//! What Step Functions does, case by case, on a virtual clock and with scripted functions.

mod world;

mod basics;
mod branches;
mod definitions;
mod durability;
mod expressions;
mod failures;
mod lifecycle;
mod tasks;
