//! One type a purpose for symmetric secrets: wiped on drop, unprintable, compared by nobody.

/// Declares a secret of fixed length: `secret!(/// doc  Name, 32);`
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(zeroize::Zeroizing<[u8; $len]>);

        impl $name {
            /// Wraps the bytes.
            pub fn new(bytes: zeroize::Zeroizing<[u8; $len]>) -> Self {
                Self(bytes)
            }

            /// The bytes, for the key schedule and for durable state; never for a log.
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "([secret])"))
            }
        }

        impl zeroize::ZeroizeOnDrop for $name {}
    };
}
pub(crate) use secret;
