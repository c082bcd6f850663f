"""Running an .onnx file. Imports no torch: this is what a deployment would import.

On an x86 processor without VNNI the runtime's product of uint8 activations and int8 weights adds two neighbouring
products in int16 (vpmaddubsw), which saturates when both are large and then changes predictions; codes up to 64 cannot
