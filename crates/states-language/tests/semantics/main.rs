//! What Step Functions does, case by case, on a virtual clock and scripted functions.

mod world;

mod basics;
