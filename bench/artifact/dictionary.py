"""What headers are likely to say, for zlib to refer to: a header of a small network then takes a third of the bytes.

Part of the format: another text here makes every file unreadable, so it comes with another `container.VERSION`. Texts
that are more likely stand nearer to the end (RFC 1950, section 2.2).
"""

from __future__ import annotations

_METADATA = (
    '"skip=first","skip=last","shape=largest","imagenet","model.py:","timm:","device":"cpu","cuda","densenet121",'
    '"mobilenet_v2","vgg11_bn","alexnet","lenet","lenet_300_100","resnet8","resnet18","lenet_caffe","fashion_mnist",'
    '"cifar100","digits","cifar10","mnist",'
    "dct:dst:dft:wavelet:hadamard:random_basis:lowrank:weight_only:bits=4:group=64:half:dtype=bf16:dynamic:"
    "keep=0.25:calibration=256:layers=all:skip=:axes=channels:shape=rectangle:budget=uniform:init=project:recipe=auto:"
    "train=coefficients+qat:bits=4:first_last_bits=0:ranges=learned:freeze=0.7:lr_scale=0.5:calibration=512:"
    "observer=histogram:layers=conv:layers=linear+prune:sparsity=0.95:layers=all+ptq:bits=8:activations=8:"
    "first_last_bits=8:budget=0.0:calibration=512:observer=histogram:bias_correction=True:equalize=False:layers=all"
    "+ternary:scales=trained+binary:prune:sparsity=None:score=variational:score=random:rates=magnitude:score=taylor:"
    "score=lookahead_act:pattern=2of4:pattern=channels:pattern=block:schedule=iterative:rates=normalized:rates=uniform:"
    "preset=lookahead:prune:sparsity=0.95:score=magnitude:score=lookahead:pattern=unstructured:schedule=oneshot:"
    "schedule=gradual:rates=global:preset=none:step=0.5:rewind=none:rewind_to=0.0:block=4x4:of=macs:round_to=8:layers=all"
    "+cluster:bits=4:rate=0.0:start=linear:vectors=float16:vectors=shared:lr_scale=5.0:lr_scale=1.0:layers=all"
    '"epoch":1,"epochs":10,"lr":0.05,"samples":60000,"seconds":,"stage":"dense","train_accuracy":0.9,"train_loss":0.0,'
    '"training":[{"validation_accuracy":0.9'
    '"class_names":["airplane","automobile","bird","cat","deer","dog","frog","horse","ship","truck"],"classes":100,'
    '"data":{"data_dir":".data/cifar10-jpeg","name":"folder"},"input_shape":[3,32,32],"label":"dense","mean":[0.4'
    '"metadata":{"case_id":"","chain":"prune:sparsity=0.9","class_names":["0","1","2","3","4","5","6","7","8","9"],'
    '"classes":10,"data":{"data_dir":".data","name":"mnist"},"dataset":"mnist","input_shape":[1,28,28],'
    '"label":"prune:sparsity=0.9+ptq","mean":[0.1],"net":"lenet_caffe","seed":0,"std":[0.3]},"tensors":['
)
_LAYERS = (
    '[2,"getattr_1","builtins.getattr",[{"node":"x"},"shape"]],[2,"cat","torch.cat",[[{"node":"'
    '[2,"truediv","operator.truediv",[2,"mul","operator.mul",[2,"relu","F.relu",[{"node":"layer1_0"}],{"inplace":true}]'
    ',"kwargs":{"tuple":[{"slice":[null,null,null]}]}[3,"mean","mean",[{"node":"'
    '[2,"flatten","torch.flatten",[{"node":"avgpool"},1]],[2,"add_1","operator.add",[{"node":"layer1_0_conv2"},'
    '{"node":"layer1_0_relu_1"}]],"layer2.0.downsample.0","block1.shortcut",[1,"features_0_relu","features.0.relu",'
    '{"graph":[[0,"x","x",[]],[0,"input_1","input",[]],"input_1_quantizer","conv1","conv1_quantizer","pool1","conv2",'
    '"conv2_quantizer","pool2","flatten","fc1","relu","relu_quantizer","fc2",[5,"output","output",[{"node":"fc"}]]],'
    '["dropout","Dropout",{"p":0.5}],"LeakyReLU","SiLU","Hardswish",{"negative_slope":0.01}],'
    '"LayerNorm",{"bias":true,"elementwise_affine":true,"eps":1e-06,"normalized_shape":[768]}],"DynamicQuantizer",{}]'
    ',"ChannelAffine",{"channels":64,"dims":2}],[["weight","WeightQuantizer",{"bits":4,"channels":'
    ',"BatchNorm2d",{"affine":true,"eps":1e-05,"momentum":0.1,"num_features":64,"track_running_stats":true}],'
    ',"BasisTransform",{"basis_kind":"dct","bias":false,"bits":8,"direction":"inward","domain":"conv","groups":1,'
    '"rows":8,"scaled":false,"size":16}],"direction":"outward","scaled":true,"domain":"linear"'
    ',"SpectralConv2d",{"basis_kind":"dct","bias":true,"channels":true,"diagonal":0,"dilation":[1,1],"groups":1,'
    '"in_channels":16,"keep_in":12,"keep_out":12,"keep_taps":null,"kernel_size":[1,1],"out_channels":32,"padding":[0,0]'
    ',"padding_mode":"zeros","stride":[2,2],"tap_diagonal":0}],"SpectralLinear",{"basis_kind":"dct","bias":true,'
    '"diagonal":0,"in_features":800,"keep_in":282,"keep_out":283,"out_features":500}],'
    ',"MaxPool2d",{"ceil_mode":false,"dilation":1,"kernel_size":2,"padding":0,"return_indices":false,"stride":2}],'
    ',"AvgPool2d",{"ceil_mode":false,"count_include_pad":true,"divisor_override":null,"kernel_size":2,"padding":0,'
    '"stride":2}],["avgpool","AdaptiveAvgPool2d",{"output_size":[1,1]}],{"output_size":1}],'
    ',[["weight","Mask",{"shape":[64,64,3,3]}]]],[["weight","Widen",{"dtype":"bf16"}]]],'
    ',[["weight","DequantizeGroups",{"bits":4,"channels":64,"columns":64,"group":64,"groups":1}]]],'
    '"layers":[["input_1_quantizer","ActivationQuantizer",{"mode":"frozen"}],["flatten","Flatten",{"end_dim":-1,'
    '"start_dim":1}],["relu","ReLU",{}],["fc","Linear",{"bias":true,"in_features":512,"out_features":10},[["weight",'
    '"Dequantize",{"channels":10}]]],[["weight","Codebook",{"count":15,"dtype":"fp16"}],["bias","Codebook",{"count":32,'
    '"dtype":"fp16"}]]],[["weight","Codebook",{"count":12,"dtype":"fp16"}],["bias","Widen",{"dtype":"fp16"}]]],["conv1","Conv2d",{"bias":true,"dilation":[1,1],"groups":1,"in_channels":64,'
    '"kernel_size":[3,3],"out_channels":64,"padding":[1,1],"padding_mode":"zeros","stride":[2,2]},[["weight",'
    '"Dequantize",{"channels":64}]]],["conv1_quantizer","ActivationQuantizer",{"mode":"frozen"}],["conv2","Conv2d",'
    '{"bias":true,"dilation":[1,1],"groups":1,"in_channels":1,"kernel_size":[5,5],"out_channels":20,"padding":[0,0],'
    '"padding_mode":"zeros","stride":[1,1]},[["weight","Dequantize",{"channels":20}]]],'
)
_TENSORS = (
    '.num_batches_tracked"],0,"i64",[],"raw",8,.running_mean"],0,"f32",[64],"split",.running_var"],0,"f32",[64],"split"'
    ',"bitmask",,"gaps",,"palette",,"packed",.parametrizations.weight.0.keep"],0,"bool",[64,64,3,3],"range",'
    '.coefficients"],1,"i8",[.parametrizations.coefficients.original"],1,"i8",[283,282],"range",.spectrum"],2,"f32",['
    '.parametrizations.weight.0.step"],0,"bf16",[64,1],"split",.parametrizations.weight.0.zero"],0,"u8",[64,1],"range",'
    '.weight"],2,"f32",[64,64,3,3],"split",.parametrizations.weight.original"],2,"f32",["f16",["bf16",'
    '[["fc1.parametrizations.bias.0.centroids"],0,"f16",[32],"raw",64,],[["fc1.parametrizations.bias.original"],1,"u8",'
    '[300],"packed",190,],[["fc1.parametrizations.weight.0.centroids"],0,"f16",[15],"raw",30,],[["fc1.parametrizations.'
    'weight.original"],1,"u8",[300,784],"range",],[["conv1.parametrizations.bias.original"],2,"f16",[20],"raw",40,],'
    '[["input_1_quantizer.scale"],0,"f32",[],"raw",4,],[["input_1_quantizer.zero_point"],0,"i32",[],"range",5,],'
    '[["conv1.bias"],2,"f32",[64],"split",],[["conv1.parametrizations.weight.0.scale"],0,"f32",[64],"split",],'
    '[["conv1.parametrizations.weight.original"],1,"i8",[64,64,3,3],"range",],[["conv1_quantizer.scale"],0,"f32",[],'
    '"raw",4,],[["conv1_quantizer.zero_point"],0,"i32",[],"range",5,],[["fc.bias"],2,"f32",[10],"raw",40,],'
    '[["fc.parametrizations.weight.0.scale"],0,"f32",[10],"raw",40,],[["fc.parametrizations.weight.original"],1,"i8",'
    '[10,512],"range",]]}'
)
DICTIONARY = (_METADATA + _LAYERS + _TENSORS).encode()
