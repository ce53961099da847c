# The engines that scripts/engines.sh put into the user's cache, as targets:
#   stoker_llama_engine   llama.cpp's server library with everything below it, static
#   stoker_onnxruntime    headers only; the library is loaded with dlopen at run time from
#                         STOKER_ONNXRUNTIME_LIBRARY. STOKER_ONNX_TEST_MODEL is a small model for tests.
# Their headers are SYSTEM: our warnings are for our own code.

# stoker_engine_dir(OUT NAME [--cuda]): where the script keeps NAME; the script owns the naming.
function(stoker_engine_dir out name)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E env "STOKER_ENGINE_DIR=${STOKER_ENGINE_DIR}" STOKER_CUDA=0
            "${CMAKE_SOURCE_DIR}/scripts/engines.sh" ${ARGN} --print-dir ${name}
    OUTPUT_VARIABLE dir OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(${out} "${dir}" PARENT_SCOPE)
endfunction()

# stoker_require_engine(NAME DIR): stops with the command to run; called where the engine is used.
function(stoker_require_engine name dir)
  if(NOT EXISTS "${dir}")
    message(FATAL_ERROR "The engine '${name}' is missing (${dir}).\n"
      "Run: scripts/engines.sh   (downloads about 200 MB and compiles for 5 to 15 minutes, once)\n"
      "or configure with -DSTOKER_ENGINES=OFF to build without engines.")
  endif()
endfunction()

# A change of our patches names another folder, so look again when they change.
file(GLOB engine_patches "${CMAKE_SOURCE_DIR}/third_party/patches/*.patch")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  "${CMAKE_SOURCE_DIR}/scripts/engines.sh" ${engine_patches})

stoker_engine_dir(STOKER_ONNXRUNTIME_DIR onnxruntime)
stoker_engine_dir(STOKER_ONNX_MODELS_DIR models)
set(STOKER_ONNXRUNTIME_LIBRARY "${STOKER_ONNXRUNTIME_DIR}/lib/libonnxruntime.so")
set(STOKER_ONNX_TEST_MODEL "${STOKER_ONNX_MODELS_DIR}/silero_vad_v6.onnx")
add_library(stoker_onnxruntime INTERFACE)
target_include_directories(stoker_onnxruntime SYSTEM INTERFACE "${STOKER_ONNXRUNTIME_DIR}/include")
target_link_libraries(stoker_onnxruntime INTERFACE ${CMAKE_DL_LIBS})

set(llama_options)
if(STOKER_CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(llama_options --cuda)
endif()
stoker_engine_dir(STOKER_LLAMA_DIR llama ${llama_options})

# In the order of the link graph, users before what they use.
set(llama_libraries server-context mtmd llama-common llama-common-base cpp-httplib llama ggml ggml-cpu)
if(STOKER_CUDA)
  list(APPEND llama_libraries ggml-cuda)
endif()
list(APPEND llama_libraries ggml-base vendor-hash)
list(TRANSFORM llama_libraries REPLACE "(.+)" "${STOKER_LLAMA_DIR}/lib/lib\\1.a")

add_library(stoker_llama_engine INTERFACE)
foreach(folder include ggml/include common vendor vendor/nlohmann tools/server tools/mtmd)
  target_include_directories(stoker_llama_engine SYSTEM INTERFACE "${STOKER_LLAMA_DIR}/include/${folder}")
endforeach()
target_compile_definitions(stoker_llama_engine INTERFACE LLAMA_SUBPROCESS GGML_USE_CPU)
# gomp: the thread pool of ggml-cpu. By name, so that clang uses the one it was compiled against.
target_link_libraries(stoker_llama_engine INTERFACE ${llama_libraries} gomp Threads::Threads ${CMAKE_DL_LIBS})
if(STOKER_CUDA)
  target_link_libraries(stoker_llama_engine INTERFACE CUDA::cudart CUDA::cublas CUDA::cublasLt CUDA::cuda_driver)
  # Configuring works on a machine that only has the toolkit; the long build waits for `ninja`.
  add_custom_target(stoker_llama_cuda_build
    COMMAND "${CMAKE_COMMAND}" -E env "STOKER_ENGINE_DIR=${STOKER_ENGINE_DIR}"
            "${CMAKE_SOURCE_DIR}/scripts/engines.sh" --cuda --only llama
    BYPRODUCTS ${llama_libraries}
    USES_TERMINAL)
  add_dependencies(stoker_llama_engine stoker_llama_cuda_build)
endif()
