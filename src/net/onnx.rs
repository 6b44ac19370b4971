//! A network as an ONNX model (opset 13), its normalisation inside: images f32 `[N, C, H, W]` in [0, 1] to logits `[N, classes]`.
//!
//! Batch norms stay nodes of their own, so that the model computes what PyTorch's does in eval mode.

use super::state::Weights;
use super::{Arena, Filtered, Net};
use crate::fsio::created_by;
use crate::ops::norm::{NORM_EPS, Norm};
use prost::Message;

/// The part of ONNX's protobuf messages that a model of ours has; the numbers are those of onnx.proto.
mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Model {
        #[prost(int64, tag = "1")]
        pub ir_version: i64,
        #[prost(string, tag = "2")]
        pub producer_name: String,
        #[prost(message, optional, tag = "7")]
        pub graph: Option<Graph>,
        #[prost(message, repeated, tag = "8")]
        pub opset_import: Vec<OperatorSet>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct OperatorSet {
        #[prost(string, tag = "1")]
        pub domain: String,
        #[prost(int64, tag = "2")]
        pub version: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Graph {
        #[prost(message, repeated, tag = "1")]
        pub node: Vec<Node>,
        #[prost(string, tag = "2")]
        pub name: String,
        #[prost(message, repeated, tag = "5")]
        pub initializer: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub input: Vec<Value>,
        #[prost(message, repeated, tag = "12")]
        pub output: Vec<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Node {
        #[prost(string, repeated, tag = "1")]
        pub input: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub output: Vec<String>,
        #[prost(string, tag = "3")]
        pub name: String,
        #[prost(string, tag = "4")]
        pub op_type: String,
        #[prost(message, repeated, tag = "5")]
        pub attribute: Vec<Attribute>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Attribute {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(float, optional, tag = "2")]
        pub f: Option<f32>,
        #[prost(int64, optional, tag = "3")]
        pub i: Option<i64>,
        #[prost(int64, repeated, packed = "false", tag = "8")]
        pub ints: Vec<i64>,
        /// 1 a float, 2 an integer, 7 integers.
        #[prost(int32, tag = "20")]
        pub kind: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Tensor {
        #[prost(int64, repeated, packed = "false", tag = "1")]
        pub dims: Vec<i64>,
        #[prost(int32, tag = "2")]
        pub data_type: i32,
        #[prost(string, tag = "8")]
        pub name: String,
        #[prost(bytes = "vec", tag = "9")]
        pub raw_data: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Value {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub kind: Option<Type>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Type {
        #[prost(message, optional, tag = "1")]
        pub tensor: Option<TensorType>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct TensorType {
        #[prost(int32, tag = "1")]
        pub elem_type: i32,
        #[prost(message, optional, tag = "2")]
        pub shape: Option<TensorShape>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct TensorShape {
        #[prost(message, repeated, tag = "1")]
        pub dim: Vec<Dimension>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Dimension {
        #[prost(int64, optional, tag = "1")]
        pub value: Option<i64>,
        #[prost(string, optional, tag = "2")]
        pub param: Option<String>,
    }
}

use proto::{Attribute, Dimension, Graph, Model, Node, OperatorSet, Tensor, TensorShape, TensorType, Type, Value};

/// ONNX's number of f32.
const FLOAT: i32 = 1;
/// The first version whose readers know opset 13.
const IR_VERSION: i64 = 7;
const OPSET: i64 = 13;

/// The nodes so far.
struct Walk<'a> {
    net: &'a Net,
    nodes: Vec<Node>,
}

fn float(name: &str, f: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(f), kind: 1, ..Attribute::default() }
}

fn integer(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(i), kind: 2, ..Attribute::default() }
}

fn integers(name: &str, ints: &[usize]) -> Attribute {
    Attribute { name: name.into(), ints: ints.iter().map(|i| *i as i64).collect(), kind: 7, ..Attribute::default() }
}

impl Walk<'_> {
    /// Adds a node and returns what its output is called.
    fn node(&mut self, op: &str, input: &[&str], attribute: Vec<Attribute>) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.nodes.len());
        let input = input.iter().map(|s| (*s).to_owned()).collect();
        let node = Node { input, output: vec![name.clone()], name: name.clone(), op_type: op.into(), attribute };
        self.nodes.push(node);
        name
    }

    /// The name of the tensor at this place.
    fn tensor(&self, arena: Arena, offset: usize) -> &str {
        let at = |t: &&super::Tensor| t.arena == arena && t.span.offset == offset;
        &self.net.tensors.iter().find(at).expect("every span is a tensor's").name
    }

    fn conv(&mut self, x: &str, f: Filtered) -> String {
        let w = self.tensor(Arena::Params, f.weights.offset).to_owned();
        let (side, pad, stride) = (f.conv.filter, f.conv.filter / 2, f.conv.stride);
        let attributes = vec![
            integers("kernel_shape", &[side, side]),
            integers("pads", &[pad; 4]),
            integers("strides", &[stride, stride]),
        ];
        self.node("Conv", &[x, &w], attributes)
    }

    fn norm_relu(&mut self, x: &str, norm: Norm) -> String {
        let names = [
            (Arena::Params, norm.gamma),
            (Arena::Params, norm.beta),
            (Arena::Running, norm.mean),
            (Arena::Running, norm.var),
        ]
        .map(|(arena, span)| self.tensor(arena, span.offset).to_owned());
        let [gamma, beta, mean, var] = names.each_ref().map(String::as_str);
        let y = self.node("BatchNormalization", &[x, gamma, beta, mean, var], vec![float("epsilon", NORM_EPS)]);
        self.node("Relu", &[&y], vec![])
    }
}

fn initializer(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let dims = shape.iter().map(|n| *n as i64).collect();
    // Little-endian, as ONNX wants it on every machine.
    let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor { dims, data_type: FLOAT, name: name.into(), raw_data }
}

/// A tensor that goes in or out: a dimension is a number, or a name for one that is free.
fn value(name: &str, shape: &[Result<usize, &str>]) -> Value {
    let dimension = |d: &Result<usize, &str>| match d {
        Ok(n) => Dimension { value: Some(*n as i64), param: None },
        Err(name) => Dimension { value: None, param: Some((*name).into()) },
    };
    let shape = Some(TensorShape { dim: shape.iter().map(dimension).collect() });
    let tensor = Some(TensorType { elem_type: FLOAT, shape });
    Value { name: name.into(), kind: Some(Type { tensor }) }
}

/// The model, encoded: input `images`, output `logits`. How many images, and their height and width, are free.
pub fn model(net: &Net, weights: &Weights) -> Vec<u8> {
    let mut walk = Walk { net, nodes: Vec::new() };
    let dict = weights.state_dict(net);
    let mut initializers: Vec<Tensor> =
        dict.iter().map(|(name, (shape, values))| initializer(name, shape, values)).collect();
    let mut x = "images".to_owned();
    if let Some(n) = &net.arch.normalisation {
        let shape = [1, n.mean.len(), 1, 1];
        initializers.push(initializer("mean", &shape, &n.mean));
        initializers.push(initializer("std", &shape, &n.std));
        x = walk.node("Sub", &[&x, "mean"], vec![]);
        x = walk.node("Div", &[&x, "std"], vec![]);
    }
    x = walk.conv(&x, net.stem);
    for b in &net.blocks {
        let a = walk.norm_relu(&x, b.norm1);
        let h = walk.conv(&a, b.conv1);
        let h = walk.norm_relu(&h, b.norm2);
        let y = walk.conv(&h, b.conv2);
        let shortcut = b.shortcut.map_or(x, |f| walk.conv(&a, f));
        x = walk.node("Add", &[&y, &shortcut], vec![]);
    }
    x = walk.norm_relu(&x, net.norm);
    x = walk.node("GlobalAveragePool", &[&x], vec![]);
    x = walk.node("Flatten", &[&x], vec![]);
    let linear = [net.linear.weight, net.linear.bias].map(|s| walk.tensor(Arena::Params, s.offset).to_owned());
    walk.node("Gemm", &[&x, &linear[0], &linear[1]], vec![integer("transB", 1)]);
    walk.nodes.last_mut().expect("just added").output = vec!["logits".into()];
    let graph = Graph {
        node: walk.nodes,
        name: net.arch.describe(),
        initializer: initializers,
        input: vec![value("images", &[Err("N"), Ok(net.arch.image.c), Err("H"), Err("W")])],
        output: vec![value("logits", &[Err("N"), Ok(net.arch.classes)])],
    };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: created_by(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    };
    model.encode_to_vec()
}
