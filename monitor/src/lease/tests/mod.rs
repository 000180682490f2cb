mod properties;
mod turns;
mod world;
