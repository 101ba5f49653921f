//! A recipient's states and the moves between them; pure.
