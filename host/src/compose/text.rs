//! Clean text: what any text from outside passes before it is shown.
