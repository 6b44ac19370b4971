//! Enums whose values have names: the same on the command line, in files and in messages, and said once.

/// An enum whose values have names.
pub trait Named: Copy + PartialEq + Send + Sync + 'static {
    /// All values, in the order in which help shows them.
    const ALL: &'static [Self];
    /// Their names, in the same order.
    const NAMES: &'static [&'static str];

    /// Its name.
    fn name(self) -> &'static str;

    /// What it is, in a line without full stop.
    fn about(self) -> &'static str;

    /// The value of this name.
    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|v| v.name() == name)
    }
}

/// Declares an enum whose values are `Variant = "name"`; a value's doc comment is what help says of it. It is written as its name.
macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $Type:ident {
        $($(#[doc = $doc:literal])+ $Variant:ident = $name:literal,)+
    }) => {
        $(#[$meta])*
        $vis enum $Type {
            $($(#[doc = $doc])+ $Variant,)+
        }

        impl $Type {
            /// All of them.
            pub const ALL: &'static [$Type] = &[$($Type::$Variant),+];

            /// Its name, on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self {
                    $($Type::$Variant => $name,)+
                }
            }
        }

        impl $crate::named::Named for $Type {
            const ALL: &'static [$Type] = $Type::ALL;
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn name(self) -> &'static str {
                $Type::name(self)
            }

            fn about(self) -> &'static str {
                let text = match self {
                    $($Type::$Variant => concat!($($doc),+),)+
                };
                text.trim().trim_end_matches('.')
            }
        }

        impl serde::Serialize for $Type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $Type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(d)?;
                let unknown = || {
                    serde::de::Error::unknown_variant(&name, <$Type as $crate::named::Named>::NAMES)
                };
                <$Type as $crate::named::Named>::by_name(&name).ok_or_else(unknown)
            }
        }
    };
}
pub(crate) use named;
